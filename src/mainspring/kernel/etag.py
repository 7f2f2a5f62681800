"""Entity tags (RFC 9110, section 8.8.3): what names one version of a representation."""

import re
from hashlib import blake2b

_ENTITY_TAG = re.compile(r'(W/)?"([^"]*)"')


def tag_of(body: bytes) -> str:
    """A strong tag for a representation that brings none: it changes with every byte."""
    return f'"{blake2b(body, digest_size=12).hexdigest()}"'


def version_tag(version: int | str, *more: object) -> str:
    """The strong tag of a row at a version, or of a digest, and what else is shown of it."""
    return f'"{"-".join(map(str, (version, *more)))}"' if more else f'"{version}"'


def tag_matches(header: str, etag: str, *, weak: bool) -> bool:
    """Tell whether an ``If-Match`` or ``If-None-Match`` list holds the entity tag.

    ``weak`` is whether weak tags are compared too. The suffix that compression adds to a tag
    (``-gzip``, ``-br``, ``-zstd``) is not part of it: whoever read that form read this version.
    """
    wanted = etag.strip('"')
    return any(
        (weak or not is_weak) and re.sub(r"-(?:gzip|br|zstd)$", "", tag) == wanted
        for is_weak, tag in _ENTITY_TAG.findall(header)
    )
