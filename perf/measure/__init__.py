"""Points measured by perf_analyzer against a server."""
