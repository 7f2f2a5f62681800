"""Random expressions and records that reach the corners: nulls, astral characters, extremes."""

import random
from typing import Any

from mainspring.cel import Names, Type, ast

NAMES = Names(
    record={
        "title": Type.TEXT,
        "note": Type.TEXT,
        "views": Type.INT,
        "stock": Type.INT,
        "price": Type.FLOAT,
        "weight": Type.FLOAT,
        "open": Type.BOOL,
        "hidden": Type.BOOL,
        "due": Type.TIME,
        "meta": Type.JSON,
    },
    context={
        "caller": Type.CALLER,
        "caller.id": Type.TEXT,
        "caller.kind": Type.TEXT,
        "caller.scopes": Type.TEXTS,
        "now": Type.TIME,
        "request.data": Type.JSON,
    },
)
FIELDS = {
    Type.TEXT: ("title", "note", "record.title"),
    Type.INT: ("views", "stock"),
    Type.FLOAT: ("price", "weight"),
    Type.BOOL: ("open", "hidden"),
    Type.TIME: ("due",),
}
TEXTS = (
    "", "a", "A",
    "ab", "abc", "Abc", "%", "_", "a%", "é", "e\u0301", "ß", "ss", "\uffff", "\U0001f600",
    "\U00010000", "z", "Z", " ", "a b", "'", '"', "\\", "\n", "日本",
    "key_1", "\x7f", "\x01", "{}", "null",
)  # fmt: skip
INTS = (0, 1, -1, 2, 7, -7, 100, 2**31, 2**53 - 1, -(2**53) + 1, 9007199254740990)
FLOATS = (
    0.0, -0.0, 1.0, 0.1, 0.2, 0.30000000000000004, -2.5, 1e100, -1e100, 1e-100, 1e15, 123456.789,
    9007199254740992.0, 3.0, 7.0, 1 / 3, 5e22, 1.7976931348623157e99,
)  # fmt: skip
TIMES = (
    "2026-01-31T12:00:00.000Z", "2026-01-31T12:00:00.001Z", "1999-12-31T23:59:59.999Z",
    "0001-01-01T00:00:00.000Z", "9999-12-31T23:59:59.999Z",
)  # fmt: skip
JSONS = (
    "red", "", 5, 5.0, 0, -1.5, True, False, {}, [], ["red"], {"color": "red"}, {"color": 5},
    {"color": True}, {"color": None}, {"null": 7.0}, {"null": "a", "size": -1e100},
    {"color": {"deep": "x"}},
    ["a", "é", "A"], [1, 2.0, 7.5], [True, None], {"color": ["a", "user_1"]}, [[1]], [""],
    ["2026-01-31T12:00:00.000Z", 100, "Abc", False], [9007199254740991, 0.1],
    {"size": 2**60, "color": "\U0001f600"},
)  # fmt: skip


def random_record(rng: random.Random) -> dict[str, Any]:
    """Make a record; every field may be null or absent."""
    record: dict[str, Any] = {}
    for field, pool in (
        ("title", TEXTS), ("note", TEXTS), ("views", INTS), ("stock", INTS), ("price", FLOATS),
        ("weight", FLOATS), ("open", (True, False)), ("hidden", (True, False)), ("due", TIMES),
        ("meta", JSONS),
    ):  # fmt: skip
        chance = rng.random()
        if chance < 0.7:
            record[field] = rng.choice(pool)
        elif chance < 0.85:
            record[field] = None
    return record


def random_context(rng: random.Random) -> dict[str, Any]:
    """Make what is known of a call."""
    somebody = {
        "id": rng.choice(["a", "user_1", "é"]),
        "kind": rng.choice(["user", "key"]),
        "scopes": rng.sample(["a", "b", "abc", ""], rng.randint(0, 3)),
        "known": True,
    }
    nobody = {"id": None, "kind": "anonymous", "scopes": None, "known": None}
    return {
        "caller": nobody if rng.random() < 0.4 else somebody,
        "now": rng.choice(TIMES),
        "request": {"data": rng.choice([None, {"title": "a"}, {"views": 7}])},
    }


def quoted(text: str) -> str:
    """Write a CEL string."""
    plain = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return '"' + "".join(c if c >= " " else f"\\u{ord(c):04x}" for c in plain) + '"'


class Expressions:
    """Writes random conditions as source text.

    With ``asks`` false no expression asks on purpose whether there is a caller.
    """

    def __init__(self, rng: random.Random, *, asks: bool = True) -> None:
        self.rng = rng
        self.asks = asks

    def condition(self, depth: int) -> str:
        rng = self.rng
        if self.asks and rng.random() < 0.03:
            return rng.choice(["caller == null", "has(caller.id)", "caller != null"])
        if depth <= 0:
            return rng.choice(
                ["open", "hidden", "true", "false", "has(title)", "open == null",
                 "title == caller.id", "note != caller.id", "caller.id != null"]
            )  # fmt: skip
        form = rng.randrange(14)
        if form >= 12:
            return self.membership(depth - 1)
        if form < 2:
            word = rng.choice([" && ", " || "])
            return (
                "(" + word.join(self.condition(depth - 1) for _ in range(rng.randint(2, 3))) + ")"
            )
        if form == 2:
            return (
                f"!{self.condition(depth - 1)}"
                if rng.random() < 0.3
                else f"!({self.condition(depth - 1)})"
            )
        if form == 3:
            name = rng.choice(["startsWith", "endsWith", "contains"])
            return f"{self.value(Type.TEXT, depth - 1)}.{name}({self.value(Type.TEXT, depth - 1)})"
        if form == 4:
            kind = rng.choice([Type.TEXT, Type.INT, Type.FLOAT])
            items = ", ".join(self.value(kind, 0) for _ in range(rng.randint(1, 4)))
            return f"({self.value(kind, depth - 1)} in [{items}])"
        if form == 5:
            test = rng.choice(
                ['== "red"', "!= 5", "> 1.5", "== null", "!= null", "== true", '< "s"']
            )
            if rng.random() < 0.3:
                return self.in_json(depth - 1)
            path = rng.choice(
                ["meta.color", "meta.size", "meta", "meta.color.deep", "request.data.views"]
            )
            return f"({path} {test})"
        if form == 6:
            return f"({self.value(Type.TEXT, 0)} in caller.scopes)"
        if form == 7:
            kinds = (self.condition(depth - 1) for _ in range(3))
            return "({} ? {} : {})".format(*kinds)
        kind = rng.choice([Type.TEXT, Type.INT, Type.FLOAT, Type.FLOAT, Type.TIME, Type.BOOL])
        signs = ["==", "!="] if kind is Type.BOOL else ["==", "!=", "<", "<=", ">", ">="]
        other = Type.INT if kind is Type.FLOAT and rng.random() < 0.4 else kind
        left, right = self.value(kind, depth - 1), self.value(other, depth - 1)
        return f"({left} {rng.choice(signs)} {right})"

    def in_json(self, depth: int) -> str:
        """What is in a list in JSON, and how much."""
        rng = self.rng
        if rng.random() < 0.2:
            of = rng.choice(["meta", "meta.color", "request.data.title"])
            return f"(size({of}) {rng.choice(['==', '>', '!='])} 1)"
        kind = rng.choice([Type.TEXT, Type.INT, Type.FLOAT, Type.TIME, Type.BOOL])
        return f"({self.value(kind, depth)} in {rng.choice(['meta', 'meta', 'meta.color'])})"

    def membership(self, depth: int) -> str:
        """``x in [...]`` of every kind, with nulls, paths into JSON and the caller among it."""
        rng = self.rng
        kind = rng.choice([Type.TEXT, Type.INT, Type.FLOAT, Type.TIME, Type.BOOL])
        other = Type.FLOAT if kind is Type.INT else Type.INT if kind is Type.FLOAT else kind
        json = ["meta", "meta.color", "meta.size", "meta.null", "request.data.views"]

        def one(chance: float) -> str:
            if rng.random() < chance:
                return rng.choice(["null", *json])
            return self.value(rng.choice([kind, kind, other]), rng.choice([0, depth]))

        items = ", ".join(one(0.4) for _ in range(rng.randint(0, 4)))
        return f"({one(0.2)} in [{items}])"

    def value(self, kind: Type, depth: int) -> str:
        rng = self.rng
        chance = rng.random()
        if kind is Type.BOOL:
            return f"({self.condition(depth)})"
        if chance < 0.5 or (depth <= 0 and chance < 0.6):
            return rng.choice(FIELDS[kind])
        if chance < 0.55 and kind in (Type.TEXT, Type.TIME):
            return {Type.TEXT: "caller.id", Type.TIME: "now"}[kind]
        if depth > 0 and chance < 0.62:
            return f"({self.condition(depth - 1)} ? {self.value(kind, 0)} : {self.value(kind, 0)})"
        if depth > 0 and chance < 0.8 and kind in (Type.INT, Type.FLOAT):
            sign = rng.choice("+-*/%" if kind is Type.INT else "+-*/")
            right = self.value(Type.INT if rng.random() < 0.5 else kind, 0)
            if sign == "%":
                right = self.value(Type.INT, 0)
            return f"({self.value(kind, depth - 1)} {sign} {right})"
        if chance < 0.85 and kind is Type.INT:
            part = rng.choice([*ast.PARTS, "", ""])
            return f"due.{part}()" if part else f"size({self.value(Type.TEXT, 0)})"
        if chance < 0.7 and kind is Type.TEXT:
            return f"{rng.choice(FIELDS[kind])}.{rng.choice(['lowerAscii', 'upperAscii'])}()"
        if chance < 0.7 and kind is Type.TIME:
            sign, long = rng.choice("+-"), rng.choice(["1h30m", "24h", "1.5s", "250ms", "999999h"])
            return f"(now {sign} duration({quoted(long)}))"
        return self.constant(kind)

    def constant(self, kind: Type) -> str:
        if kind is Type.TEXT:
            return quoted(self.rng.choice(TEXTS))
        if kind is Type.TIME:
            return f"timestamp({quoted(self.rng.choice(TIMES))})"
        if kind is Type.INT:
            return str(self.rng.choice(INTS))
        number = repr(self.rng.choice(FLOATS))
        return number if "." in number or "e" in number else number + ".0"
