"""Build verified models into a repository."""
