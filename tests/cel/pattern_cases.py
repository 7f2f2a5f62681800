"""Random patterns of ``matches()``, each with what Python's own expressions say for the same."""

import random
import re

CHARS = "aAbBkKsS_09 é\u212a\u017f日\U0001f600%\n\t\x01\x7f"
SIGNS = r".-[]{}()*+?^$|\/"


class Patterns:
    """Writes patterns, and the same for ``re`` under ``re.ASCII``."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng

    def whole(self) -> tuple[str, re.Pattern[str]]:
        """Return a pattern and its equal."""
        source, python = self.alternatives(3)
        folds = self.rng.random() < 0.3
        flags = re.ASCII | (re.IGNORECASE if folds else re.NOFLAG)
        return ("(?i)" if folds else "") + source, re.compile(python, flags)

    def alternatives(self, depth: int) -> tuple[str, str]:
        made = [self.sequence(depth) for _ in range(self.rng.choice([1, 1, 1, 2, 3]))]
        return "|".join(s for s, _ in made), "|".join(p for _, p in made)

    def sequence(self, depth: int) -> tuple[str, str]:
        made = [self.repeated(depth) for _ in range(self.rng.choice([0, 1, 1, 2, 3]))]
        if self.rng.random() < 0.2:
            made.insert(0, ("^", "^"))
        if self.rng.random() < 0.2:
            made.append(("$", r"\Z"))
        return "".join(s for s, _ in made), "".join(p for _, p in made)

    def repeated(self, depth: int) -> tuple[str, str]:
        source, python = self.atom(depth)
        count = self.rng.choice(["", "", "", "*", "+", "?", "{2}", "{0,2}", "{1,}", "{0}", "*?"])
        return source + count, python + count

    def atom(self, depth: int) -> tuple[str, str]:
        form = self.rng.randrange(9)
        if form < 3 and depth > 0:
            source, python = self.alternatives(depth - 1)
            return self.rng.choice([f"({source})", f"(?:{source})"]), f"(?:{python})"
        if form == 3:
            return ".", "."
        if form == 4:
            escape = rf"\{self.rng.choice('dwsDWStnrf')}"
            return escape, escape
        if form == 5:
            made = self.among()
            return made, made
        if form == 6:
            escape = "\\" + self.rng.choice(SIGNS)
            return escape, escape
        char = self.rng.choice(CHARS)
        return char, re.escape(char)

    def among(self) -> str:
        parts = [
            self.rng.choice(
                [self.rng.choice(CHARS), r"\d", r"\w", r"\s", r"\]", r"\-", r"\^", r"\n", "0-9",
                 "a-f", "A-Z", "X-c", "é-日", "\t- ", r"\(-\/", "&"]
            )
            for _ in range(self.rng.randint(1, 3))
        ]  # fmt: skip
        return f"[{self.rng.choice(['', '^'])}{''.join(parts)}]"


def text(rng: random.Random) -> str:
    """Make a text for patterns to be matched with."""
    return "".join(rng.choice(CHARS + SIGNS) for _ in range(rng.randrange(6)))
