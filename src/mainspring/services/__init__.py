"""The built-in services, each a bounded context; a sibling sees only a service's ``api.py``."""
