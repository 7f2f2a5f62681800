"""A folder per port, a file per backend. Only here do drivers appear."""
