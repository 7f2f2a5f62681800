"""How files are typed and named in headers: parameters, media types, ``Content-Disposition``.

RFC 9110 (5.6.6, 8.3), RFC 6266 and RFC 8187. Everything here is linear in what it reads.
"""

import unicodedata
from collections.abc import Iterator
from urllib.parse import quote, unquote_to_bytes

NAME_CHARS_MAX = 255
ENDING_CHARS_MAX = 32  # of a name that is cut: ``.tar.gz`` stays, and so does what opens the file
MEDIA_TYPE_CHARS_MAX = 255

_TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
_TYPE = _TOKEN - frozenset("%'*`|~")  # RFC 6838, 4.2
_ATTRIBUTE = "!#$&+-.^_`|~"  # besides letters and digits: attr-char of RFC 8187
_CHARSETS = {"utf-8": "utf-8", "iso-8859-1": "latin-1"}
# They turn what follows around: ``photo_gpj.exe`` would be shown as ``photo_exe.jpg``.
_TURNING = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_NOT_SHOWN = frozenset({"Cc", "Cs", "Zl", "Zp"})


def media_type(header: str) -> str:
    """Normalise a Content-Type to its type and its charset. Raises ValueError.

    ``Text/HTML;Charset="UTF-8"`` becomes ``text/html; charset=utf-8``: without it a reader has to
    guess. No other parameter is kept.
    """
    essence, _, rest = header.partition(";")
    main, slash, sub = (part.strip(" \t") for part in essence.partition("/"))
    if not slash or not main or not sub or not _TYPE.issuperset(main + sub):
        raise ValueError("Content-Type is type/subtype")
    made = f"{main}/{sub}".lower()
    charset = next((value for name, value in parameters(rest) if name == "charset"), None)
    if charset is not None:
        if not charset or not _TOKEN.issuperset(charset):
            raise ValueError("the charset of a Content-Type is a name, as in charset=utf-8")
        made += f"; charset={charset.lower()}"
    if len(made) > MEDIA_TYPE_CHARS_MAX:
        raise ValueError(f"a Content-Type has at most {MEDIA_TYPE_CHARS_MAX} characters")
    return made


def file_name(disposition: str) -> str | None:
    """Read the name of a file from a Content-Disposition whose bytes came as latin-1.

    ``filename*`` is preferred where it can be read. A plain ``filename`` is UTF-8 when its bytes
    are that, as browsers and tools send it, else latin-1. What is left has no path, nothing that
    cannot be shown, and keeps its ending when it is cut.
    """
    plain = coded = None
    kind, _, rest = disposition.partition(";")
    # Some send no type before the first parameter.
    for name, value in parameters(disposition if "=" in kind else rest):
        if name == "filename*" and coded is None:
            coded = _decoded(value)
        elif name == "filename" and plain is None:
            plain = _as_utf8(value)
    named = coded if coded is not None else plain
    return None if named is None else _cleaned(named)


def disposition(name: str, *, inline: bool = False) -> str:
    """Write the Content-Disposition of a download: once for old readers, once in full."""
    kind = "inline" if inline else "attachment"
    plain = unicodedata.normalize("NFKD", name)
    plain = "".join(char for char in plain if not unicodedata.combining(char))
    plain = "".join(char if " " <= char < "\x7f" and char not in '"\\%' else "_" for char in plain)
    return f"{kind}; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe=_ATTRIBUTE)}"


def parameters(text: str) -> Iterator[tuple[str, str]]:
    """Read ``name=value; name="value"``: names in lower case, values without quotes and escapes.

    What is no parameter is passed over. Only a quote and a backslash count as escaped: a browser
    on Windows may send a whole path.
    """
    at, size = 0, len(text)
    while at < size:
        end = text.find(";", at)
        end = size if end == -1 else end
        equals = text.find("=", at, end)
        if equals == -1:
            at = end + 1
            continue
        name = text[at:equals].strip(" \t").lower()
        at = equals + 1
        while at < size and text[at] in " \t":
            at += 1
        if at < size and text[at] == '"':
            value, at = _string(text, at + 1)
            end = text.find(";", at)
            end = size if end == -1 else end
        else:
            value = text[at:end].strip(" \t")
        at = end + 1
        if name:
            yield name, value


def _string(text: str, at: int) -> tuple[str, int]:
    """Read to the end of a quoted string. Returns what is in it, and where it ended."""
    parts: list[str] = []
    begun = at
    while at < len(text) and text[at] != '"':
        if text[at] == "\\" and text[at + 1 : at + 2] in {'"', "\\"}:
            parts.append(text[begun:at])
            at += 1
            begun = at
        at += 1
    parts.append(text[begun:at])
    return "".join(parts), at + 1


def _decoded(value: str) -> str | None:
    """Read an extended value (RFC 8187): ``UTF-8'en'%e2%82%ac``; None when it is not one."""
    charset, _, rest = value.partition("'")
    _, quote_mark, coded = rest.partition("'")
    encoding = _CHARSETS.get(charset.strip().lower())
    if encoding is None or not quote_mark:
        return None
    try:
        return unquote_to_bytes(coded.encode("latin-1")).decode(encoding)
    except UnicodeError:
        return None


def _as_utf8(value: str) -> str:
    try:
        return value.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return value


def _cleaned(name: str) -> str | None:
    name = name.replace("\\", "/").rpartition("/")[2]
    name = "".join(
        char
        for char in name
        if char not in _TURNING and unicodedata.category(char) not in _NOT_SHOWN
    ).strip()
    if name in {"", ".", ".."}:
        return None
    return _shortened(name)


def _shortened(name: str) -> str:
    """Cut a long name before its ending; a second one belongs to it, as in ``.tar.gz``."""
    if len(name) <= NAME_CHARS_MAX:
        return name
    stem, dot, last = name.rpartition(".")
    if not dot or not stem or len(last) >= ENDING_CHARS_MAX:
        return name[:NAME_CHARS_MAX]
    ending = dot + last
    before, dot, second = stem.rpartition(".")
    if dot and before and len(second) <= 4 and second.isalnum():
        ending = dot + second + ending
    return name[: NAME_CHARS_MAX - len(ending)] + ending
