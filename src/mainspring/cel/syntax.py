"""The syntax of CEL (cel-spec, langdef.md): from text to an untyped tree.

The subset is stated by what ``check`` accepts; this file reads the whole expression grammar except
maps, messages, bytes and multi-line strings. Every refusal names the character it is about.
"""

import re
from itertools import pairwise
from typing import Literal

import msgspec

from mainspring.kernel.errors import Invalid

SOURCE_CHARS_MAX = 2_000
DEPTH_MAX = 24  # nested parentheses, calls, conditionals and prefix operators
NODES_MAX = 400
ROW_MAX = 50  # operators other than && and || in a row, each of which nests the one before
LIST_ITEMS_MAX = 100
INT_MAX = 2**63 - 1

_TOKEN = re.compile(
    r"""
      (?P<space>[\t\n\f\r\ ]+|//[^\n]*)
    | (?P<float>[0-9]+\.[0-9]+(?:[eE][+-]?[0-9]+)?|[0-9]+[eE][+-]?[0-9]+)
    | (?P<int>0x[0-9a-fA-F]+|[0-9]+)
    | (?P<text>[rR]?"(?:[^"\\\n]|\\.)*"|[rR]?'(?:[^'\\\n]|\\.)*')
    | (?P<name>[_a-zA-Z][_a-zA-Z0-9]*)
    | (?P<sign>==|!=|<=|>=|&&|\|\||[<>!+\-*/%?:()\[\].,])
    """,
    re.VERBOSE,
)
_ESCAPE = re.compile(
    r"\\(?:([abfnrtv\\'\"`?])|x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))"
)
_PLAIN_ESCAPES = {
    "a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v",
    "\\": "\\", "'": "'", '"': '"', "`": "`", "?": "?",
}  # fmt: skip
# What the standard reserves: no name may be one of these, what is selected from a name may.
RESERVED_WORDS = frozenset([
    "as", "break", "const", "continue", "else", "for", "function", "if", "import", "let", "loop",
    "namespace", "package", "return", "var", "void", "while",
])  # fmt: skip
_POWERS = {
    "||": 1, "&&": 2, "==": 3, "!=": 3, "<": 3, "<=": 3, ">": 3, ">=": 3, "in": 3,
    "+": 4, "-": 4, "*": 5, "/": 5, "%": 5,
}  # fmt: skip


class Constant(msgspec.Struct, frozen=True):
    """A constant."""

    value: str | int | float | bool | None
    at: int


class Identifier(msgspec.Struct, frozen=True):
    """An identifier and what is selected from it: ``caller.id``."""

    path: tuple[str, ...]
    at: int


class UnaryOperator(msgspec.Struct, frozen=True):
    """``!x`` or ``-x``."""

    sign: Literal["!", "-"]
    operand: "Node"
    at: int


class BinaryOperator(msgspec.Struct, frozen=True):
    """An operator between two operands; ``&&`` and ``||`` chains are flat (see ``Chain``)."""

    sign: str
    left: "Node"
    right: "Node"
    at: int


class Chain(msgspec.Struct, frozen=True):
    """``a && b && c`` or ``a || b || c``."""

    sign: Literal["&&", "||"]
    operands: "tuple[Node, ...]"
    at: int


class Choice(msgspec.Struct, frozen=True):
    """``test ? yes : no``."""

    test: "Node"
    yes: "Node"
    no: "Node"
    at: int


class Apply(msgspec.Struct, frozen=True):
    """``function(args)``, or ``target.function(args)``."""

    function: str
    target: "Node | None"
    args: "tuple[Node, ...]"
    at: int


class Items(msgspec.Struct, frozen=True):
    """``[a, b, c]``."""

    items: "tuple[Node, ...]"
    at: int


Node = Constant | Identifier | UnaryOperator | BinaryOperator | Chain | Choice | Apply | Items


def refusal(source_pointer: str, detail: str, at: int | None = None) -> Invalid:
    """Make the failure for an expression: ``at`` counts characters from 0, told from 1."""
    where = "" if at is None else f" (character {at + 1})"
    return Invalid.at(source_pointer, detail + where, "the expression is not valid")


class _Token(msgspec.Struct, frozen=True):
    kind: str
    text: str
    at: int


class Parser:
    """Reads one expression by precedence climbing, within the bounds above."""

    def __init__(self, source: str, pointer: str) -> None:
        self.pointer = pointer
        self.tokens = self._split(source)
        self.next = 0
        self.nodes = 0
        self.depth = 0

    def _fail(self, detail: str, at: int | None = None) -> Invalid:
        return refusal(self.pointer, detail, at)

    def parse(self) -> Node:
        """Return the tree of the whole source. Raises Invalid."""
        node = self._choice()
        token = self.tokens[self.next]
        if token.kind != "end":
            raise self._fail(f"{token.text!r} is not expected here", token.at)
        return node

    def _split(self, source: str) -> list[_Token]:
        if len(source) > SOURCE_CHARS_MAX:
            raise self._fail(f"longer than {SOURCE_CHARS_MAX} characters")
        tokens: list[_Token] = []
        at = 0
        while at < len(source):
            match = _TOKEN.match(source, at)
            if match is None or match.lastgroup is None:
                raise self._fail(f"{source[at]!r} cannot be read", at)
            if match.lastgroup != "space":
                tokens.append(_Token(match.lastgroup, match[0], at))
            at = match.end()
        tokens.append(_Token("end", "the end", len(source)))
        return tokens

    def _count(self) -> None:
        self.nodes += 1
        if self.nodes > NODES_MAX:
            raise self._fail(f"more than {NODES_MAX} parts")

    def _enter(self, at: int) -> None:
        self.depth += 1
        if self.depth > DEPTH_MAX:
            raise self._fail(f"nested deeper than {DEPTH_MAX}", at)

    def _take(self, sign: str) -> bool:
        """Pass the sign if it is next."""
        token = self.tokens[self.next]
        if token.kind == "sign" and token.text == sign:
            self.next += 1
            return True
        return False

    def _expect(self, sign: str) -> None:
        """Pass the sign, which must be next."""
        token = self.tokens[self.next]
        if not self._take(sign):
            raise self._fail(f"{sign!r} is expected, not {token.text!r}", token.at)

    def _choice(self) -> Node:
        at = self.tokens[self.next].at
        self._enter(at)
        node = self._binary(1)
        if self._take("?"):
            self._count()
            yes = self._choice()
            self._expect(":")
            node = Choice(node, yes, self._choice(), at)
        self.depth -= 1
        return node

    def _binary(self, power: int) -> Node:
        left = self._unary()
        row = 0
        while True:
            token = self.tokens[self.next]
            mine = _POWERS.get(token.text, 0) if token.kind in ("sign", "name") else 0
            if mine < power:
                return left
            self.next += 1
            self._count()
            right = self._binary(mine + 1)
            if token.text in ("&&", "||"):
                before = (
                    left.operands
                    if isinstance(left, Chain) and left.sign == token.text
                    else (left,)
                )
                left = Chain(token.text, (*before, right), token.at)  # type: ignore[arg-type]
            else:
                row += 1
                if row > ROW_MAX:
                    raise self._fail(f"more than {ROW_MAX} operators in a row", token.at)
                left = BinaryOperator(token.text, left, right, token.at)

    def _unary(self) -> Node:
        token = self.tokens[self.next]
        if token.kind == "sign" and token.text in ("!", "-"):
            self.next += 1
            self._count()
            self._enter(token.at)
            operand = self._unary()
            self.depth -= 1
            if (
                token.text == "-"
                and isinstance(operand, Constant)
                and type(operand.value) in (int, float)
            ):
                return Constant(-operand.value, token.at)  # type: ignore[operator]
            return UnaryOperator(token.text, operand, token.at)  # type: ignore[arg-type]
        return self._member()

    def _member(self) -> Node:
        node = self._primary()
        while self._take("."):
            token = self.tokens[self.next]
            if token.kind != "name":
                raise self._fail(f"a name is expected, not {token.text!r}", token.at)
            self.next += 1
            self._count()
            if self._take("("):
                node = Apply(token.text, node, self._arguments(")"), token.at)
            elif isinstance(node, Identifier):
                node = Identifier((*node.path, token.text), node.at)
            else:
                raise self._fail("only a name has parts", token.at)
        if self.tokens[self.next].text == "[" and self.tokens[self.next].kind == "sign":
            raise self._fail("indexing is not supported", self.tokens[self.next].at)
        return node

    def _arguments(self, close: str) -> tuple[Node, ...]:
        found: list[Node] = []
        while not self._take(close):
            if found:
                self._expect(",")
            if len(found) == LIST_ITEMS_MAX:
                raise self._fail(f"more than {LIST_ITEMS_MAX} items", self.tokens[self.next].at)
            found.append(self._choice())
        return tuple(found)

    def _primary(self) -> Node:
        token = self.tokens[self.next]
        self.next += 1
        self._count()
        if token.kind == "sign" and token.text == "(":
            node = self._choice()
            self._expect(")")
            # (a && b) && c stays nested: parentheses are how a chain is told from its neighbours
            return node
        if token.kind == "sign" and token.text == "[":
            return Items(self._arguments("]"), token.at)
        if token.kind == "text":
            return Constant(self._text(token), token.at)
        if token.kind == "int":
            value = int(token.text, 0) if token.text.startswith("0x") else int(token.text)
            if value > INT_MAX:
                raise self._fail("the number is too large", token.at)
            return Constant(value, token.at)
        if token.kind == "float":
            number = float(token.text)
            if number == float("inf"):
                raise self._fail("the number is too large", token.at)
            return Constant(number, token.at)
        if token.kind == "name":
            return self._name(token)
        raise self._fail(f"{token.text!r} is not expected here", token.at)

    def _name(self, token: _Token) -> Node:
        if token.text in ("true", "false"):
            return Constant(token.text == "true", token.at)
        if token.text == "null":
            return Constant(None, token.at)
        if token.text in RESERVED_WORDS:
            detail = f"{token.text!r} is a reserved word: write record.{token.text} for the field"
            raise self._fail(detail, token.at)
        if token.text == "in":
            raise self._fail("'in' is a reserved word", token.at)
        if self._take("("):
            return Apply(token.text, None, self._arguments(")"), token.at)
        return Identifier((token.text,), token.at)

    def _text(self, token: _Token) -> str:
        raw = token.text[0] in "rR"
        text = token.text[2:-1] if raw else token.text[1:-1]

        def unescape(match: re.Match[str]) -> str:
            if match[1]:
                return _PLAIN_ESCAPES[match[1]]
            digits = match[2] or match[3] or match[4]
            if digits is None:
                raise self._fail(f"'\\{match[5]}' is not an escape", token.at)
            code = int(digits, 16)
            if code > 0x10FFFF:
                raise self._fail("the escape names no Unicode character", token.at)
            return chr(code)

        if not raw:
            text = _ESCAPE.sub(unescape, text)
        if any(c == "\0" or "\ud800" <= c <= "\udfff" for c in text):
            raise self._fail("text is Unicode without NUL", token.at)
        return text


def parse(source: str, pointer: str) -> Node:
    """Read an expression. Raises Invalid pointing at ``pointer``, with the character."""
    return Parser(source, pointer).parse()


class Part(msgspec.Struct, frozen=True):
    """A part of an expression that ``&&`` and ``||`` join: its text, and where that begins."""

    source: str
    at: int


def parts(source: str) -> list[Part]:
    """Take an expression apart at its ``&&`` and ``||``, in the order of its text.

    What they join in an operand of something else, as in ``!(a && b)``, stays together. Raises
    Invalid for what is no expression.
    """
    parser = Parser(source, "")
    parser.parse()
    return _parts(source, parser.tokens, 0, len(parser.tokens) - 1)


def _parts(source: str, tokens: list[_Token], first: int, end: int) -> list[Part]:
    """Take apart what is between two tokens, the second of which is not part of it."""
    depth, found = 0, dict[str, list[int]]()
    closes = first  # where the parenthesis ends that the first token begins
    for place in range(first, end):
        token = tokens[place]
        if token.kind != "sign":
            continue
        depth += (token.text in "([") - (token.text in ")]")
        if depth == 0:
            found.setdefault(token.text, []).append(place)
            closes = closes if closes > first else place
    if tokens[first].text == "(" and closes == end - 1:
        return _parts(source, tokens, first + 1, end - 1)
    joined = found.get("||") or found.get("&&")
    if "?" in found or not joined:
        return [Part(source[tokens[first].at : tokens[end].at].rstrip(), tokens[first].at)]
    edges = [first - 1, *joined, end]
    return [
        part
        for before, after in pairwise(edges)
        for part in _parts(source, tokens, before + 1, after)
    ]
