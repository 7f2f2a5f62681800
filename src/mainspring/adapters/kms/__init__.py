"""Key management services, which hold the key that wraps data keys."""
