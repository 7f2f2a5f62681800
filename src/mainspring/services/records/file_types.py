"""What a file is: read from its first bytes, and what its sender claims where they do not tell.

Binary formats are known by their signatures (the library ``filetype``), markup as browsers know it
(WHATWG MIME Sniffing, 7.1). A room of its own, for it knows nothing of records.
"""

import re
from collections.abc import Iterable

import filetype

from mainspring.kernel.media import MEDIA_TYPE_CHARS_MAX

ANY_FILE, TEXT = "application/octet-stream", "text/plain"

_PATTERN = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]*/(?:\*|[a-z0-9][a-z0-9!#$&^_.+-]*)")
# Control characters that no text has; with one of them a file is binary.
_BINARY = re.compile(rb"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f]")
_UNICODE = ((b"\xef\xbb\xbf", "utf-8"), (b"\xfe\xff", "utf-16"), (b"\xff\xfe", "utf-16"))
_LEADING = re.compile(r"(?:\s+|<!--.*?-->|<!(?!doctype)[^>]*>|<\?[^>]*>)", re.DOTALL)
_ROOT = re.compile(
    r"<(?:!doctype\s+(?P<doctype>[a-z]+)|(?:[a-z_][\w.-]*:)?(?P<name>[a-z][a-z0-9]*))[\s/>]"
)
_HTML = frozenset({
    "html", "head", "script", "iframe", "h1", "div", "font", "table", "a", "style", "title", "b",
    "body", "br", "p", "form", "img", "input", "object", "embed", "link", "meta", "base",
})  # fmt: skip
# One format under several names; the one that is kept.
_SAME = {
    "image/jpg": "image/jpeg", "image/pjpeg": "image/jpeg", "image/x-png": "image/png",
    "image/apng": "image/png", "image/heif": "image/heic", "image/x-ms-bmp": "image/bmp",
    "image/vnd.microsoft.icon": "image/x-icon",
    "audio/x-wav": "audio/wav", "audio/wave": "audio/wav", "audio/vnd.wave": "audio/wav",
    "audio/mp3": "audio/mpeg", "audio/x-flac": "audio/flac", "audio/x-m4a": "audio/mp4",
    "video/x-m4v": "video/mp4", "application/x-pdf": "application/pdf",
    "application/x-gzip": "application/gzip", "application/x-zip-compressed": "application/zip",
    "text/xml": "application/xml", "application/x-javascript": "text/javascript",
    "application/javascript": "text/javascript", "font/woff": "application/font-woff",
}  # fmt: skip
# What a format is used for its first bytes do not tell: there the claim counts, among these.
_ALIKE = (
    frozenset({"video/mp4", "audio/mp4", "video/quicktime", "video/3gpp", "audio/3gpp"}),
    frozenset({"video/ogg", "audio/ogg", "application/ogg"}),
    frozenset({"video/webm", "audio/webm", "video/x-matroska", "audio/x-matroska"}),
    frozenset({"application/msword", "application/vnd.ms-excel", "application/vnd.ms-powerpoint"}),
)
_ZIPPED = re.compile(
    r"application/(?:zip|epub\+zip|java-archive|x-xpinstall|.*\+zip|vnd\.(?:openxmlformats-|oasis\."
    r"|ms-|android\.package-archive|apple\.).*|vnd\.android\.package-archive)"
)
# Signatures that are plain characters: text that happens to begin so is still text, but of these.
_WRITTEN = frozenset({"application/pdf", "application/postscript", "application/rtf"})
_PLAIN = frozenset({"application/pdf", "text/plain"})
# A file is none of these unless its bytes say so.
_SHOWN = frozenset({
    "image/png", "image/jpeg", "image/gif", "image/webp", "image/bmp", "image/tiff", "image/avif",
    "image/heic", "image/x-icon", "image/vnd.adobe.photoshop", "image/svg+xml", "application/pdf",
    "application/zip", "application/gzip", "application/rtf", "video/mp4", "video/quicktime",
    "video/webm", "video/ogg", "audio/mp4", "audio/ogg", "audio/wav", "audio/flac",
})  # fmt: skip


def is_harmless(media_type: str) -> bool:
    """Tell whether a browser may show it by itself: nothing in it can run or ask for anything."""
    essence = media_type.partition(";")[0]
    kind = essence.partition("/")[0]
    return essence in _PLAIN or (kind in {"image", "audio", "video"} and "+" not in essence)


def pattern_of(text: str) -> str:
    """Normalise ``image/*`` or ``application/pdf``. Raises ValueError."""
    pattern = text.strip().lower()
    if len(pattern) > MEDIA_TYPE_CHARS_MAX or _PATTERN.fullmatch(pattern) is None:
        raise ValueError("is a media type such as application/pdf, or all of a kind: image/*")
    return _SAME.get(pattern, pattern)


def fits(media_type: str, patterns: Iterable[str]) -> bool:
    """Tell whether a media type is one of those, or of their kind."""
    essence = media_type.partition(";")[0]
    return any(essence == p or (p.endswith("*") and essence.startswith(p[:-1])) for p in patterns)


def judge(head: bytes, claimed: str) -> str:
    """The media type of a file that begins with ``head``.

    What its bytes say counts. A claim counts that says more (a ``.docx`` is a zip), or where the
    bytes say nothing; but not of a type that they would have shown.
    """
    essence, _, parameters = claimed.partition(";")
    essence = _SAME.get(essence, essence)
    claim = f"{essence};{parameters}" if parameters else essence
    shown, text = _told_by(head), _is_text(head)
    if shown is not None:
        return claim if essence == shown or _says_more(essence, shown) else shown
    if essence in _SHOWN or (essence.startswith("text/") and not text):
        return TEXT if text else ANY_FILE
    return claim


def _told_by(head: bytes) -> str | None:
    """What the bytes show of themselves."""
    text = _is_text(head)
    found = filetype.guess(head)
    if found is not None and found.mime != ANY_FILE:
        known: str = _SAME.get(found.mime, found.mime)
        if not text or known in _WRITTEN:
            return known
    return _markup(head) if text else None


def _says_more(claim: str, shown: str) -> bool:
    if shown == "application/zip":
        return _ZIPPED.fullmatch(claim) is not None
    if shown == "application/xml":
        return claim.endswith("+xml") and claim not in _SHOWN
    return any(claim in kind and shown in kind for kind in _ALIKE)


def _is_text(head: bytes) -> bool:
    return head.startswith((b"\xfe\xff", b"\xff\xfe")) or _BINARY.search(head) is None


def _markup(head: bytes) -> str | None:
    """HTML, SVG or XML, whatever stands before its first element."""
    encoding = next((named for mark, named in _UNICODE if head.startswith(mark)), "utf-8")
    text = head.decode(encoding, "replace").lstrip("\ufeff").lower()
    declared, at = text.lstrip().startswith("<?xml"), 0
    while (leading := _LEADING.match(text, at)) is not None:
        at = leading.end()
    root = _ROOT.match(text, at)
    name = "" if root is None else root["doctype"] or root["name"]
    if name == "svg":
        return "image/svg+xml"
    if name == "html" or (name in _HTML and not declared):
        return "text/html"
    return "application/xml" if declared else None
