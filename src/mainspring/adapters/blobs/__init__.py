"""Blobs: a directory embedded, any S3 when one machine is outgrown."""
