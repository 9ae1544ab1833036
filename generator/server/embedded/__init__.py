"""The Triton that pip installs."""
