"""A move of a whole installation from one engine to another: copied, compared, switched."""
