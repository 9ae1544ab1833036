"""From networks to verified models in a repository."""
