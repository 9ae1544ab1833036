"""Processes, files and native libraries of this machine."""
