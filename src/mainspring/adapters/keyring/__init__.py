"""Keyrings: a file of root keys, a KMS when one machine is outgrown."""
