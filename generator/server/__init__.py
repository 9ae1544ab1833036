"""Run Triton on a repository with one of two engines, and ask a running server."""
