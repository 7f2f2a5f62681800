"""Stores of documents that are asked in MongoDB's language."""
