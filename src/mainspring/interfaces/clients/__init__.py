"""Clients made of the declarations: source text in another language, or in Python for callers."""
