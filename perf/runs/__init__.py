"""Stored runs: reading, comparison, tables and export."""
