"""Signed notes of tests' own making."""

from mainspring.services.audit.model import signed_note


def sign(checkpoint, key, signer):
    """Write a note that one key signs, under whatever name."""
    return signed_note(checkpoint, {key: signer(checkpoint.text().encode())})
