"""What a collection's published schema allows is taken, and what it does not is refused."""

import json
from typing import Any

import jsonschema_rs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.kernel.errors import Failure
from mainspring.services.records.api import Field, Rules
from mainspring.services.records.definition import check_fields
from mainspring.services.records.fields import json_schema
from mainspring.services.records.model import CompiledCollection, Definition

FIELDS = check_fields(
    [
        Field("title", "text", required=True, min=1, max=5),
        Field("note", "text"),
        Field("price", "number"),
        Field("rate", "number", required=True, min=0, max=1, default=0.5),
        Field("count", "integer"),
        Field("some", "integer", min=-2.5, max=7.5),
        Field("open", "boolean"),
        Field("state", "select", values=["a", "b", ""]),
        Field("must", "select", values=["x"], required=True, default="x"),
        Field("due", "datetime"),
        Field("mail", "email"),
        Field("site", "url"),
        Field("meta", "json"),
        Field("body", "json", required=True),
        Field("file", "file"),
        Field("other", "relation", collection="posts"),
    ]
)
POSTS = CompiledCollection("coll_1", "posts", 1, 1, 1, Definition(FIELDS, Rules(), [], [], {}, 1))
PROPERTIES = {f.name: json_schema(f, sent=True) for f in FIELDS}
REQUIRED = [f.name for f in FIELDS if f.required and f.default is None]
VALIDATORS = {
    name: jsonschema_rs.Draft202012Validator(schema, validate_formats=False)
    for name, schema in PROPERTIES.items()
}
ID = "rec_01jd0000000000000000000000"

NUMBERS = (
    st.integers(-10, 10) | st.integers(2**53 - 2, 2**53 + 2) | st.integers(-(2**53) - 2, -(2**53))
    | st.sampled_from([0.0, -0.0, 0.5, 1.0, 5.0, -3.0, 1e3, 2.0**53, 1e15, 1e16, 1e100, 1.1e100,
                       1e-100, 9e-101, -1e-101, 5e-324, 7.0, 7.5, 8.0])
    | st.floats(-1e101, 1e101)
)  # fmt: skip
TEXTS = (
    st.text(max_size=6)
    | st.sampled_from(["a", "b", "x", "", ID, ID.upper(), ID + "0", "rec_8" + ID[5:], "y" * 5_001])
    | st.from_regex(r"\A[Hh][Tt]{2}[Pp]s?://[A-Za-z0-9:@\[\]%./?# \\|^-]{0,12}\Z")
    | st.text("\u00e4\U0001f600e\u0301\t\u2028", max_size=6)
)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner,
                                                                max_size=2),
    max_leaves=4,
)  # fmt: skip
FORMED = {
    "due": st.datetimes().map(lambda moment: f"{moment.isoformat()}Z"),
    "mail": st.sampled_from(["a@b.de", "\u00e4@b\u00fccher.example", "a.b+c@localhost"]),
}


def takes(name: str, value: object) -> bool:
    body = {"title": "t", "body": 1, name: value}
    try:
        POSTS.read_new(msgspec.Raw(json.dumps(body).encode()))
    except Failure:
        return False
    return True


def fitting(name: str) -> st.SearchStrategy[Any]:
    """Values of any kind; texts only such as have the format, which a schema does not check."""
    if name in FORMED:
        return VALUES.filter(lambda value: not isinstance(value, str)) | FORMED[name]
    if name in ("meta", "body"):
        big = st.integers(min_value=2**53) | st.floats(1e16, 1e308)
        return VALUES.filter(lambda value: "9007199254740" not in json.dumps(value)) | big.map(
            lambda number: [str(number)]
        )
    return VALUES


@pytest.mark.parametrize("name", list(PROPERTIES))
@given(data=st.data())
def test_a_value_fits_its_schema_or_is_refused(name: str, data: st.DataObject) -> None:
    value = data.draw(fitting(name))
    assert takes(name, value) == VALIDATORS[name].is_valid(value), value


def test_what_is_required_is_what_has_no_default() -> None:
    assert REQUIRED == ["title", "body"]
    for missing in REQUIRED:
        body = {name: "t" for name in REQUIRED if name != missing}
        with pytest.raises(Failure):
            POSTS.read_new(msgspec.Raw(json.dumps(body).encode()))


def test_what_is_answered_is_described_by_itself() -> None:
    answered = {field.name: json_schema(field) for field in FIELDS}
    assert "$ref" not in json.dumps(answered)
    stored = {"blob": "b", "name": None, "media_type": "text/plain", "size_bytes": 1, "sha256": "0"}
    validator = jsonschema_rs.validator_for(answered["file"])
    assert validator.is_valid(stored)
    assert validator.is_valid(None)
    assert not validator.is_valid({**stored, "size_bytes": "1"})
