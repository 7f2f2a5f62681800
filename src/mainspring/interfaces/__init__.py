"""How calls come in: each interface is derived from the operations, and none knows a service."""
