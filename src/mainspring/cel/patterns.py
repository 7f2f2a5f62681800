"""Patterns of ``matches()``: a subset of RE2's syntax with one meaning for every engine.

A pattern is read here and written anew, so that RE2 (which evaluates it in Python and in SQLite)
and PostgreSQL are given a text that they understand alike, and each takes time in proportion to the
text it is matched with. It matches anywhere in a text, unless it is anchored.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

BYTES_MAX = 200
COUNT_MAX = 255  # PostgreSQL's own bound on {m,n}
STATES_MAX = 500  # what a pattern comes to with its counts written out
MATCHED_CHARS_MAX = 10_000  # a longer text matches nothing
_COMPILED = 256

_CLASSES = {"d": "0-9", "w": "0-9A-Za-z_", "s": r"\t\n\f\r "}
_CONTROLS = {"t": r"\t", "n": r"\n", "r": r"\r", "f": r"\f"}
_REPEATS = frozenset("*+?{")


class WrongPattern(ValueError):
    """A pattern is not one; ``at`` is the character where, from 0."""

    def __init__(self, detail: str, at: int) -> None:
        super().__init__(detail)
        self.at = at


def normal(source: str) -> str:
    """Return a pattern as every engine reads it. Raises WrongPattern."""
    if len(source.encode()) > BYTES_MAX:
        raise WrongPattern(f"it is longer than {BYTES_MAX} bytes", 0)
    reader = _Reader(source)
    text, _ = reader.alternatives()
    if reader.at < len(source):
        raise reader.wrong("this bracket closes nothing: write \\)")
    return text


def matched(text: str | None, pattern: str | None) -> bool | None:
    """Tell whether a text matches a pattern that is ``normal``; None of null."""
    if text is None or pattern is None:
        return None
    return len(text) <= MATCHED_CHARS_MAX and _compiled(pattern)(text) is not None


@lru_cache(_COMPILED)
def _compiled(pattern: str) -> Callable[[str], Any]:
    import re2  # takes 20 ms, which a start without patterns need not

    search: Callable[[str], Any] = re2.compile(pattern).search
    return search


class _Reader:
    """Reads one pattern from left to right. What it returns is text, and how many states it has."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.folds = source.startswith("(?i)")
        self.at = 4 if self.folds else 0

    def wrong(self, detail: str, at: int | None = None) -> WrongPattern:
        return WrongPattern(detail, self.at if at is None else at)

    def peek(self) -> str:
        return self.source[self.at : self.at + 1]

    def take(self) -> str:
        found = self.peek()
        self.at += 1
        return found

    def alternatives(self) -> tuple[str, int]:
        """Read ``a|b|c``, up to what ends it."""
        texts, states = [], 0
        while True:
            text, more = self.sequence()
            texts.append(text)
            states += more + 1
            if self.peek() != "|":
                return "|".join(texts), states
            self.take()

    def sequence(self) -> tuple[str, int]:
        """Read what follows one another."""
        made, states = "", 0
        while (char := self.peek()) and char not in "|)":
            start = self.at
            if char in "^$":
                self.take()
                text, more = char, 1
                if self.peek() and self.peek() in _REPEATS:
                    raise self.wrong(f"{char} cannot be repeated")
            else:
                text, more = self.repeated(*self.atom())
            made, states = made + text, states + more
            if states > STATES_MAX:
                raise self.wrong("the counts come to too much: repeat less", start)
        return made, states

    def atom(self) -> tuple[str, int]:
        """Read a character, a class of them, or a group."""
        start, char = self.at, self.take()
        match char:
            case "(":
                if self.source.startswith("?:", self.at):
                    self.at += 2
                elif self.peek() == "?":
                    raise self.wrong("groups are (…) and (?:…); (?i) stands at the start", start)
                text, states = self.alternatives()
                if self.take() != ")":
                    raise self.wrong("this bracket is not closed: write \\( for itself", start)
                return f"(?:{text})", states
            case "[":
                return self.among(start), 1
            case ".":
                return r"[^\n]", 1
            case "\\":
                return self.escaped(start), 1
            case "*" | "+" | "?" | "{":
                raise self.wrong(f"there is nothing to repeat: write \\{char} for itself", start)
        return self.folded(char), 1

    def folded(self, char: str) -> str:
        """A character, or both cases of a letter A to Z where case does not count."""
        if self.folds and char.isascii() and char.isalpha():
            return f"[{char.upper()}{char.lower()}]"
        return _literal(char)

    def escaped(self, start: int) -> str:
        char = self.take()
        if char in _CONTROLS:
            return _CONTROLS[char]
        if char in _CLASSES:
            return f"[{_CLASSES[char]}]"
        if char.isascii() and char.lower() in _CLASSES:
            return f"[^{_CLASSES[char.lower()]}]"
        return self.itself(char, start)

    def itself(self, char: str, start: int) -> str:
        if not char or not char.isascii() or char.isalnum():
            known = r"\d \w \s \D \W \S \t \n \r \f"
            raise self.wrong(f"\\{char} is not supported: {known}, and \\ before a sign", start)
        return _literal(char)

    def among(self, start: int) -> str:
        """Read what is between ``[`` and ``]``."""
        negated = self.peek() == "^"
        self.at += negated
        made = ""
        while (char := self.take()) != "]":
            if not char:
                raise self.wrong("this bracket is not closed: write \\[ for itself", start)
            at = self.at - 1
            if char == "[" and self.peek() == ":":
                raise self.wrong("classes are \\d, \\w and \\s", at)
            if char == "\\" and self.peek() in (*_CLASSES, "D", "W", "S"):
                name = self.take()
                if name not in _CLASSES:
                    raise self.wrong(f"\\{name} does not stand between brackets", at)
                made += _CLASSES[name]
                continue
            low = self.one(char, at)
            high = low
            if self.peek() == "-" and self.source[self.at + 1 : self.at + 2] not in ("]", ""):
                self.take()
                at = self.at
                high = self.one(self.take(), at)
                if high < low:
                    raise self.wrong("this range ends before it begins", at)
            made += self.range(low, high)
        if not made:
            raise self.wrong("nothing is between these brackets: write \\[ for itself", start)
        return f"[{'^' if negated else ''}{made}]"

    def one(self, char: str, at: int) -> str:
        """Read one end of a range."""
        if char != "\\":
            return char
        name = self.take()
        return {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}.get(name) or (
            self.itself(name, at)[-1:]
        )

    def range(self, low: str, high: str) -> str:
        made = [(low, high)]
        if self.folds:
            for first, last, step in (("a", "z", -32), ("A", "Z", 32)):
                begin, end = max(low, first), min(high, last)
                if begin <= end:
                    made.append((chr(ord(begin) + step), chr(ord(end) + step)))
        return "".join(_literal(a) if a == b else f"{_literal(a)}-{_literal(b)}" for a, b in made)

    def repeated(self, text: str, states: int) -> tuple[str, int]:
        """Read how often something may stand; that it be as seldom as can be changes nothing."""
        start, char = self.at, self.peek()
        if not char or char not in _REPEATS:
            return text, states
        self.take()
        most = 1
        if char == "{":
            char, most = self.counted(start)
        if self.peek() == "?":
            self.take()
        if self.peek() and self.peek() in _REPEATS:
            raise self.wrong("what is repeated already stands in a group: (…)")
        return text + char, states * most + 1

    def counted(self, start: int) -> tuple[str, int]:
        """Read ``m}``, ``m,}`` or ``m,n}``."""
        inner, closed, _ = self.source[self.at :].partition("}")
        low, comma, high = inner.partition(",")
        numbers = [low, *([high] if high else [])]
        if not closed or not all(n.isascii() and n.isdigit() for n in numbers):
            raise self.wrong("counts are {3}, {3,} or {3,5}: write \\{ for itself", start)
        counts = [int(n) if len(n) < 4 else COUNT_MAX + 1 for n in numbers]
        if max(counts) > COUNT_MAX or counts[0] > counts[-1]:
            raise self.wrong(f"counts go up, and to {COUNT_MAX}", start)
        self.at += len(inner) + 1
        least = str(counts[0])
        most = f"{comma}{counts[1]}" if high else comma
        return f"{{{least}{most}}}", counts[-1] + bool(comma)


def _literal(char: str) -> str:
    """Write a character so that it stands for itself, also between brackets."""
    controls = {"\t": r"\t", "\n": r"\n", "\r": r"\r", "\f": r"\f"}
    if char in controls:
        return controls[char]
    return f"\\{char}" if char.isascii() and char.isprintable() and not (
        char.isalnum() or char in "_ "
    ) else char  # fmt: skip
