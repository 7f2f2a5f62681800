"""How msgspec words its refusals: pointers and details are read out of them."""

from typing import Annotated, Any, Literal

import msgspec
import pytest

from mainspring.kernel.field_errors import explain


class Inner(msgspec.Struct, forbid_unknown_fields=True):
    count: int
    kind: Literal["a", "b"] = "a"
    name: Annotated[str, msgspec.Meta(pattern="^x", extra_json_schema={"description": "an x"})] = ""


class Outer(msgspec.Struct, forbid_unknown_fields=True):
    inner: list[Inner]
    by_name: dict[str, int] = {}


@pytest.mark.parametrize(
    ("sent", "pointer", "detail"),
    [
        ({"inner": [{"count": "7"}]}, "/inner/0/count", "Expected `int`, got `str`"),
        ({"inner": [{"count": 1}, {"count": 1, "x": 2}]}, "/inner/1/x", "unknown field"),
        ({"inner": [{}]}, "/inner/0/count", "required"),
        ({"inner": [{"count": 1, "kind": "c"}]}, "/inner/0/kind", "Expected one of a, b"),
        ({"inner": [{"count": 1, "name": "y"}]}, "/inner/0/name", "Expected an x"),
        ({"inner": [], "by_name": {"k": "v"}}, "/by_name/*", "Expected `int`, got `str`"),
        ([], "", "Expected `object`, got `array`"),
    ],
)
def test_a_refusal_says_where_and_what(sent: Any, pointer: str, detail: str) -> None:
    with pytest.raises(msgspec.ValidationError) as refused:
        msgspec.json.decode(msgspec.json.encode(sent), type=Outer)
    assert explain(refused.value, Outer) == (pointer, detail)


def test_a_struct_tells_how_it_was_declared() -> None:
    config = Outer.__struct_config__
    assert (config.forbid_unknown_fields, config.array_like, config.tag) == (True, False, None)
