"""E-mail addresses: what is one, and which spellings are one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.kernel.email_address import EMAIL_CHARS_MAX, email_address, email_key


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("ann@example.com", "ann@example.com"),
        (" ann@example.com ", "ann@example.com"),
        ("Ann@EXAMPLE.com", "Ann@example.com"),
        ("a@b", "a@b"),
        ("a+b.c@x.co", "a+b.c@x.co"),
        ("o'neil@example.com", "o'neil@example.com"),
        ("ünï@bücher.example", "ünï@xn--bcher-kva.example"),
        ("u\u0308@bu\u0308cher.example", "ü@xn--bcher-kva.example"),
        ("a@BÜCHER.example", "a@xn--bcher-kva.example"),
        ("a@XN--BCHER-KVA.example", "a@xn--bcher-kva.example"),
        ("a@bücher\u3002example", "a@xn--bcher-kva.example"),
        ("a@straße.de", "a@xn--strae-oqa.de"),
        ("用户@例子.测试", "用户@xn--fsqu00a.xn--0zwm56d"),
        ("x" * 64 + "@" + "a" * 63 + ".com", "x" * 64 + "@" + "a" * 63 + ".com"),
    ],
)
def test_an_address_has_one_normal_form(text: str, normal: str) -> None:
    assert email_address(text) == normal
    assert email_address(normal) == normal


@pytest.mark.parametrize(
    "text",
    [
        "", "@", "a@", "@b", "a", "a b@c.de", "a@b c.de", "a@b@c.de", "a\uff20b@c.de",
        "a@b\uff20c.de",
        "a\uff20b.de", "a@-b.com", "a@b-.com", "a@b..com", "a@.com", "a@b.com.", "a@b_c.com",
        "a@b.com\n", "\na@b.com", "a@b.com\n\n.x", "a\x00@b.com", "a@b.com\x00", "a\x7f@b.com",
        "a\u0085@b.com", "a\u00a0@b.com", "a\u200b@b.com", "a\u202e@b.com", "a\u2028@b.com",
        "a\ud800@b.com", "a@b\ud800.com", "<a@b.com>", "a,b@c.com", "a;b@c.com", '"a b"@c.com',
        '"a"@c.com', "a\uff08b\uff09@c.com", "a\uff0cb@c.com", ".a@b.com", "a.@b.com", "a..b@c.com",
        "a@[127.0.0.1]", "a@127.0.0.1", "a@xn--a.com", "x" * 65 + "@b.com",
        "a@" + "b" * 64 + ".com", "a@" + ".".join(["b" * 60] * 5), "a\r\nBcc: x@y.z@b.com",
        "x" * 1_000_000 + "@b.com", "a@" + "ü" * 1_000_000,
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"e-mail address|the part before the @"):
        email_address(text)


def test_spellings_of_one_accounts_address_have_one_key() -> None:
    spellings = [
        "Ann@bücher.example", "ann@BÜCHER.example", " ann@xn--bcher-kva.example",
        "\uff41nn@bu\u0308cher.example",
    ]  # fmt: skip
    assert {email_key(text) for text in spellings} == {"ann@xn--bcher-kva.example"}
    assert email_key("é@x.y") == email_key("e\u0301@x.y")
    with pytest.raises(ValueError, match="not an e-mail address"):
        email_key("ann")


@given(st.text(max_size=300) | st.from_regex(r"\A[^@]{1,20}@[^@]{1,20}\.[a-z]{2,3}\Z"))
def test_a_text_is_refused_or_has_a_form_that_stays(text: str) -> None:
    try:
        normal = email_address(text)
    except ValueError:
        return
    assert email_address(normal) == normal
    assert email_key(normal) == email_key(text)
    assert normal.count("@") == 1
    assert len(normal) <= EMAIL_CHARS_MAX
    assert normal.rpartition("@")[2].isascii()
