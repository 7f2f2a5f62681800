"""A Protocol per file for each thing outside the process; an adapter is a file that fills it."""
