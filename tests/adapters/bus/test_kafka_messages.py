"""What is on a topic may be anybody's: whatever it is, it is an event of ours or NotOurs."""

import pytest

from mainspring.adapters.bus.kafka_messages import NotOurs, event_of, headers_of, value_of
from mainspring.testing.conformance.bus.reading import event


def test_an_event_comes_back_whole_whatever_others_put_beside_it() -> None:
    sent = event(7, "what happened")
    beside = [("trace", b"\xff"), ("trace", None), ("ce_causationid", None)]
    found = event_of(7, [*headers_of(sent), *beside], value_of(sent))
    assert (found.offset, found.envelope) == (7, sent.envelope)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("ce_id", b"\xff\xfe"),
        ("ce_colour", b"\xff\xfe"),
        ("content-type", b"\xff\xfe"),
        ("ce_id", None),
        ("ce_seq", b"first"),
        ("ce_seq", b"0"),
        ("ce_seq", b"9223372036854775808"),
    ],
)
def test_headers_that_no_platform_writes_are_told_as_such(name: str, text: bytes | None) -> None:
    sent = event(7)
    headers = [(known, value) for known, value in headers_of(sent) if known != name]
    with pytest.raises(NotOurs):
        event_of(7, [*headers, (name, text)], value_of(sent))
