"""Stored measurements: read, compared, tabulated, exported."""
