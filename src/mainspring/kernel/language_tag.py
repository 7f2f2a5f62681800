"""Language tags: one reading for everybody who takes one (BCP 47).

Taken is a language, and script, region and variants where they are said: ``de``, ``zh-Hant-TW``,
``de-CH-1996``; no extensions, private use or names of before.
"""

import re
from collections.abc import Iterator

LANGUAGE_TAG_CHARS_MAX = 35  # RFC 5646, section 4.4.1
ACCEPTED_MAX = 20  # languages of one header that are looked at

_TAG = re.compile(
    r"(?P<language>[a-z]{2,3})(?:-(?P<script>[a-z]{4}))?(?:-(?P<region>[a-z]{2}|[0-9]{3}))?"
    r"(?P<variants>(?:-(?:[a-z0-9]{5,8}|[0-9][a-z0-9]{3})){0,3})",
    re.IGNORECASE | re.ASCII,
)
_QUALITY = re.compile(r"q=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)", re.IGNORECASE | re.ASCII)


def language_tag(text: str) -> str:
    """Return a tag as RFC 5646, section 2.1.1, writes it: ``de-AT``. Raises ValueError."""
    found = _TAG.fullmatch(text)
    if found is None or len(text) > LANGUAGE_TAG_CHARS_MAX:
        raise ValueError("not a language tag (BCP 47): write de, de-AT or zh-Hant, say")
    parts = [found["language"].lower()]
    if found["script"]:
        parts.append(found["script"].title())
    if found["region"]:
        parts.append(found["region"].upper())
    return "-".join(parts) + found["variants"].lower()


def wider(tag: str) -> Iterator[str]:
    """Yield a tag and what is less and less particular (RFC 4647, section 3.4); nothing of ''."""
    while tag:
        yield tag
        tag = tag.rpartition("-")[0]


def accepted(accept_language: str) -> list[str]:
    """Return the languages that a client takes, the one it likes best first (RFC 9110, 12.5.4).

    What it writes wrongly counts as unsaid: it is a guess.
    """
    likes: list[tuple[float, str]] = []
    for item in accept_language.split(",", ACCEPTED_MAX)[:ACCEPTED_MAX]:
        written, _, parameter = item.partition(";")
        quality = _QUALITY.fullmatch(parameter.strip())
        weight = 1.0 if not parameter else float(quality[1]) if quality else 0.0
        try:
            tag = language_tag(written.strip())
        except ValueError:
            continue
        if weight > 0:
            likes.append((weight, tag))
    return [tag for _, tag in sorted(likes, key=lambda like: -like[0])]


def preferred(accept_language: str) -> str:
    """Return the language that a client likes best; '' if it says none."""
    return next(iter(accepted(accept_language)), "")
