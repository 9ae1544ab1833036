"""Processes, files, threads and memory of this machine."""
