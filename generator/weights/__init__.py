"""Parameters for a network, random or from a file; nothing in a weights file is executed."""
