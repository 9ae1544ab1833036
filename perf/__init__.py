"""Measuring served models with perf_analyzer, in the shape of the published tables."""

import logging

logging.getLogger(__name__).addHandler(logging.NullHandler())
