"""The result document: its format, its file, targets, metrics of it."""
