"""Measuring served models with perf_analyzer, in the shape of the published tables."""
