"""From an operation and its arguments to a commit and its answer."""
