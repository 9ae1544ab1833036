"""A run as one HTML file, for whoever was not there."""
