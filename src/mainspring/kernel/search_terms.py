"""Words as full-text search knows them: one way to find them in texts and in what is asked for.

Every engine is given words that were found here, with spaces between them, and splits at nothing
else: so they all find the same. A word is a run of letters, digits and the marks on them, in
compatibility form (NFKC) without case, and without the accents of Latin, Greek and Cyrillic
letters. In scripts that put no spaces between words each character is a word. What is asked for
in one piece (``state-of-the-art``, ``l'été``, ``日本``) is found where its words follow each other.
"""

import re
import unicodedata
from functools import lru_cache

import msgspec

TERMS_VERSION = 1  # of what this file makes of texts: an index of another one is made anew
WORD_CHARS_MAX = 64  # of a longer word the rest counts for nothing
TERMS_MAX = 16  # asked for in one query
WORDS_MAX = 32  # in all of them together

_ASCII_WORDS = re.compile(r"[a-z0-9]+")
_ACCENTS = re.compile("[\u0300-\u036f]")
_PIECES = re.compile(r'"([^"]*)"?|([^\s"]+)')
# Scripts without spaces: Thai, Lao, Myanmar, Khmer, Kana, and the characters of Chinese.
_ALONE = (
    (0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x3040, 0x30FF), (0x31F0, 0x31FF),
    (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x323AF),
)  # fmt: skip
_CHARS_CACHED = 16_384


class Term(msgspec.Struct, frozen=True):
    """Words that follow each other; of one that is a ``prefix``, whatever begins so is meant."""

    words: tuple[str, ...]
    prefix: bool = False


def words_of(text: str) -> list[str]:
    """Return the words of a text in their order."""
    if text.isascii():
        return [word[:WORD_CHARS_MAX] for word in _ASCII_WORDS.findall(text.lower())]
    folded = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    folded = unicodedata.normalize("NFC", _ACCENTS.sub("", folded))
    spaced = "".join([_spaced(char) for char in folded])
    return [word[:WORD_CHARS_MAX] for word in spaced.split()]


@lru_cache(_CHARS_CACHED)
def _spaced(char: str) -> str:
    """A character of a word as it is, one that is a word by itself apart, any other as a space."""
    kind = unicodedata.category(char)[0]
    if kind == "M":
        return char
    if kind not in "LN":
        return " "
    code = ord(char)
    return f" {char}" + ("" if _joins(code) else " ") if _is_alone(code) else char


def _is_alone(code: int) -> bool:
    return any(first <= code <= last for first, last in _ALONE)


def _joins(code: int) -> bool:
    """Whether marks may follow that belong to the character, as vowels do in Thai."""
    return code < 0x3000


def read_query(text: str) -> list[Term]:
    """Read what is asked for: words that all have to be there, ``"a phrase"``, ``beginn*``.

    Whatever else is in it is no syntax, and parts words as it does in texts. Raises ValueError
    where no word is in it, or too much.
    """
    terms: list[Term] = []
    for quoted, plain in _PIECES.findall(text):
        words = tuple(words_of(quoted or plain))
        prefix = plain.endswith("*")
        if prefix and len(words) > 1:
            raise ValueError(f"{plain!r}: a * stands behind one word: write its words apart")
        term = Term(words, prefix)
        if words and term not in terms:
            terms.append(term)
    if not terms:
        raise ValueError("there is no word in it: letters or digits are looked for")
    if len(terms) > TERMS_MAX or sum(len(term.words) for term in terms) > WORDS_MAX:
        raise ValueError(
            f"at most {TERMS_MAX} words or phrases are looked for, of {WORDS_MAX} words together"
        )
    return terms
