"""Entity tags and conditional requests (RFC 9110, section 13)."""

from hashlib import blake2b

from mainspring.kernel.call import tag_matches


def tag_of(body: bytes) -> str:
    """A strong tag for a representation that brings none: it changes with every byte."""
    return f'"{blake2b(body, digest_size=12).hexdigest()}"'


def not_modified(if_none_match: str, etag: str) -> bool:
    """Tell whether the caller holds this representation already (weak comparison)."""
    return if_none_match.strip() == "*" or tag_matches(
        if_none_match, etag.removeprefix("W/"), weak=True
    )


def with_suffix(etag: str, coding: str) -> str:
    """The strong tag of the same representation, compressed."""
    return f'{etag[:-1]}-{coding}"'
