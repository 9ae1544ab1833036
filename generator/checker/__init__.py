"""The errors that Triton would report, found without starting it."""
