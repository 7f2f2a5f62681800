"""Documents: read within bounds, judged by the schema, and compiled into what to take of answers.

All of it is linear in the document: signs are counted before they are read, fragments are put in
under a count of fields, and fields of one name are compared once, with the first of them.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLObjectType,
    GraphQLSkipDirective,
    InlineFragmentNode,
    NoSchemaIntrospectionCustomRule,
    OperationDefinitionNode,
    OverlappingFieldsCanBeMergedRule,
    SelectionSetNode,
    VariableNode,
    get_directive_values,
    get_named_type,
    get_variable_values,
    parse,
    print_ast,
    specified_rules,
    validate,
)
from graphql.execution.values import VariableValues
from graphql.type import GraphQLIncludeDirective

from mainspring.interfaces.graphql.endpoint import DocumentRefused
from mainspring.interfaces.graphql.schema import Schema
from mainspring.interfaces.graphql.settings import GraphqlSettings

NESTING_MAX = 60  # of brackets of any kind: what reading takes a stack for
ERRORS_MAX = 20
DOCUMENT_CHARS_MAX = 200_000

_MARKS = re.compile(r'"""(?:\\"""|(?!""")[\s\S])*+"""|"(?:\\.|[^"\\\n])*+"|#[^\n\r]*+|[{}\[\]()]')
# Ours compares as it compiles: the rule compares each field with each.
_RULES = tuple(r for r in specified_rules if r is not OverlappingFieldsCanBeMergedRule)


class Selected(msgspec.Struct, frozen=True):
    """A field of an answer: under which key it goes, and what is taken of what is below it.

    ``typename`` is what ``__typename`` answers.
    """

    key: str
    name: str
    below: tuple["Selected", ...] | None = None
    typename: str | None = None


class Root(msgspec.Struct, frozen=True):
    """A root field of an operation: the first node that names it, and what is taken of it."""

    key: str
    node: FieldNode
    also: tuple[FieldNode, ...] = ()
    below: tuple[Selected, ...] | None = None


class DocumentPlan(msgspec.Struct, frozen=True):
    """What an operation of a document does."""

    operation: OperationDefinitionNode
    roots: tuple[Root, ...]
    writes: bool
    variables: VariableValues
    root_type: str


class GraphqlDocument:
    """A document that fits a schema."""

    __slots__ = ("compiled", "fragments", "node", "operations", "text")

    def __init__(self, text: str, node: DocumentNode) -> None:
        self.text, self.node = text, node
        self.compiled: dict[str, tuple[Root, ...]] = {}  # at most one for each of its operations
        self.operations = [d for d in node.definitions if isinstance(d, OperationDefinitionNode)]
        self.fragments = {
            d.name.value: d for d in node.definitions if isinstance(d, FragmentDefinitionNode)
        }

    def operation(self, name: str | None) -> OperationDefinitionNode:
        """Return the operation that is meant. Raises DocumentRefused."""
        if name is not None:
            for operation in self.operations:
                if operation.name is not None and operation.name.value == name:
                    return operation
            raise DocumentRefused(f"the document has no operation {name[:100]!r}")
        if len(self.operations) != 1:
            raise DocumentRefused("say with operationName which operation of the document is meant")
        return self.operations[0]


def read_document(text: str, schema: Schema, settings: GraphqlSettings) -> GraphqlDocument:
    """Parse and validate. Raises DocumentRefused with what is wrong."""
    if len(text) > DOCUMENT_CHARS_MAX:
        raise DocumentRefused(f"the document has at most {DOCUMENT_CHARS_MAX} characters")
    nesting = deepest = 0
    for mark in _MARKS.finditer(text):
        sign = mark[0][0]
        if sign in "{[(":
            nesting += 1
            deepest = max(deepest, nesting)
        elif sign in "}])":
            nesting -= 1
    if deepest > NESTING_MAX:
        raise DocumentRefused(f"the document nests brackets {deepest} deep: at most {NESTING_MAX}")
    try:
        node = parse(text, max_tokens=settings.tokens_max)
    except GraphQLError as error:
        raise DocumentRefused("the document cannot be read", [error]) from None
    rules = _RULES if settings.introspection else (*_RULES, NoSchemaIntrospectionCustomRule)
    found = validate(schema.graphql, node, rules, max_errors=ERRORS_MAX, hide_suggestions=True)
    if found:
        raise DocumentRefused("the document does not fit the schema", found)
    return GraphqlDocument(text, node)


def compile_plan(
    document: GraphqlDocument,
    schema: Schema,
    settings: GraphqlSettings,
    operation: OperationDefinitionNode,
    given: Mapping[str, Any],
) -> DocumentPlan:
    """Return what to call and what to take of the answers. Raises DocumentRefused."""
    try:
        values = get_variable_values(
            schema.graphql, operation.variable_definitions or (), dict(given),
            max_errors=ERRORS_MAX, hide_suggestions=True,
        )  # fmt: skip
    except OverflowError:
        values = [GraphQLError("a number of the variables is too large")]
    if isinstance(values, list):
        raise DocumentRefused("the variables do not fit", values)
    root = schema.graphql.get_root_type(operation.operation)
    if root is None:
        raise DocumentRefused(f"there is no {operation.operation.value} here")
    name = "" if operation.name is None else operation.name.value
    roots = document.compiled.get(name)
    if roots is None:
        compiling = _Compiling(document, settings, values)
        roots = compiling.roots(root, operation.selection_set)
        if not compiling.varied:
            document.compiled[name] = roots
    return DocumentPlan(
        operation, roots, operation.operation.value == "mutation", values, root.name
    )


class _Compiling:
    """Puts fragments in and joins fields of one name."""

    def __init__(
        self, document: GraphqlDocument, settings: GraphqlSettings, values: VariableValues
    ) -> None:
        self._fragments = document.fragments
        self._settings = settings
        self._values = values
        self._fields = 0
        self.varied = False  # whether variables say what is left out

    def roots(self, kind: GraphQLObjectType, selections: SelectionSetNode) -> tuple[Root, ...]:
        """Compile the calls of an operation."""
        made: list[Root] = []
        for key, nodes in self._joined([selections]).items():
            first = nodes[0]
            if first.name.value.startswith("__"):
                self._count_below(nodes)
                made.append(Root(key, first, tuple(nodes[1:])))
                continue
            below = self._below(get_named_type(kind.fields[first.name.value].type), nodes, 2)
            made.append(Root(key, first, (), below))
        if len(made) > self._settings.roots_max:
            raise DocumentRefused(
                f"the document makes {len(made)} calls: at most {self._settings.roots_max}"
            )
        return tuple(made)

    def _below(
        self, kind: Any, nodes: Sequence[FieldNode], depth: int
    ) -> tuple[Selected, ...] | None:
        if not isinstance(kind, GraphQLObjectType):
            return None
        if depth > self._settings.depth_max:
            raise DocumentRefused(f"the document is deeper than {self._settings.depth_max} levels")
        made: list[Selected] = []
        inner = [node.selection_set for node in nodes if node.selection_set is not None]
        for key, joined in self._joined(inner).items():
            name = joined[0].name.value
            if name == "__typename":
                made.append(Selected(key, name, None, kind.name))
                continue
            below = self._below(get_named_type(kind.fields[name].type), joined, depth + 1)
            made.append(Selected(key, name, below))
        return tuple(made)

    def _joined(self, sets: Iterable[SelectionSetNode]) -> dict[str, list[FieldNode]]:
        """Collect the fields by their keys. Every object type here is concrete, so all apply."""
        found: dict[str, list[FieldNode]] = {}
        waiting = [iter(each.selections) for each in reversed(list(sets))]
        while waiting:
            node = next(waiting[-1], None)
            if node is None:
                waiting.pop()
                continue
            self._count()
            if self._left_out(node):
                continue
            if isinstance(node, FieldNode):
                key = node.name.value if node.alias is None else node.alias.value
                nodes = found.setdefault(key, [])
                if nodes and _call(nodes[0]) != _call(node):
                    raise DocumentRefused(f"{key!r} is two different fields: give one an alias")
                nodes.append(node)
            elif isinstance(node, InlineFragmentNode):
                waiting.append(iter(node.selection_set.selections))
            elif isinstance(node, FragmentSpreadNode):
                fragment = self._fragments[node.name.value]
                waiting.append(iter(fragment.selection_set.selections))
        return found

    def _count_below(self, nodes: Sequence[FieldNode]) -> None:
        """Count what the executor is given: introspection, whose depth its own rule bounds."""
        waiting: list[Any] = list(nodes)
        while waiting:
            node = waiting.pop()
            self._count()
            inner = getattr(node, "selection_set", None)
            if isinstance(node, FragmentSpreadNode):
                inner = self._fragments[node.name.value].selection_set
            if inner is not None:
                waiting.extend(inner.selections)

    def _count(self) -> None:
        self._fields += 1
        if self._fields > self._settings.fields_max:
            raise DocumentRefused(
                f"the document asks for more than {self._settings.fields_max} fields"
            )

    def _left_out(self, node: Any) -> bool:
        if not node.directives:
            return False
        said = [a.value for d in node.directives for a in d.arguments or ()]
        self.varied = self.varied or any(isinstance(value, VariableNode) for value in said)
        try:
            skip = get_directive_values(GraphQLSkipDirective, node, self._values)
            include = get_directive_values(GraphQLIncludeDirective, node, self._values)
        except GraphQLError as error:
            raise DocumentRefused("a directive does not fit", [error]) from None
        return bool(skip and skip["if"]) or bool(include and not include["if"])


def _call(node: FieldNode) -> tuple[str, list[str]]:
    return node.name.value, sorted(print_ast(argument) for argument in node.arguments or ())
