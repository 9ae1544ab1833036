"""Running Triton on a repository: two engines, and what is asked of a server that runs."""
