"""config.pbtxt: its options, its targets, its text."""
