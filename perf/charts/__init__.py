"""Charts of a run: their content is computed by pure functions, then drawn by matplotlib."""
