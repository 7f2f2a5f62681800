"""Conditional requests (RFC 9110, section 13)."""

from mainspring.kernel.etag import tag_matches


def not_modified(if_none_match: str, etag: str) -> bool:
    """Tell whether the caller holds this representation already (weak comparison)."""
    return if_none_match.strip() == "*" or tag_matches(
        if_none_match, etag.removeprefix("W/"), weak=True
    )


def with_suffix(etag: str, coding: str) -> str:
    """The strong tag of the same representation, compressed."""
    return f'{etag[:-1]}-{coding}"'
