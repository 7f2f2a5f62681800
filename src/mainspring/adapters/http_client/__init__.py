"""Outgoing HTTP to addresses from outside: what may be reached, and the client that reaches it."""
