"""NVIDIA's Triton container."""
