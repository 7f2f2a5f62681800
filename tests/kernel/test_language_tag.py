"""Language tags as they are written, widened, and guessed from what a browser sends."""

import pytest

from mainspring.kernel.language_tag import accepted, language_tag, preferred, wider


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("DE", "de"), ("de-at", "de-AT"), ("ZH-hant-tw", "zh-Hant-TW"), ("es-419", "es-419"),
        ("de-ch-1996", "de-CH-1996"), ("sl-rozaj-Biske", "sl-rozaj-biske"),
    ],
)  # fmt: skip
def test_a_tag_has_one_spelling(text: str, normal: str) -> None:
    assert language_tag(text) == normal


@pytest.mark.parametrize(
    "text", ["", "d", "german", "de_DE", "de-", "-de", "de-x-a", "de\n", "..", "dé", "de-" * 30]
)
def test_what_is_no_tag_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a language tag"):
        language_tag(text)


def test_tags_are_widened() -> None:
    assert list(wider("zh-Hant-TW")) == ["zh-Hant-TW", "zh-Hant", "zh"]
    assert list(wider("")) == []


@pytest.mark.parametrize(
    ("header", "guess"),
    [
        ("de-at,de;q=0.9,en;q=0.8", "de-AT"), ("en;q=0.1, fr;q=0.7", "fr"), ("*", ""), ("", ""),
        ("de;q=0", ""), ("de;q=2, en;q=0.5", "en"), ("nonsense, fr", "fr"), (",;,=,", ""),
        ("x," * 50 + "de", ""), ("de;q=", ""),
    ],
)  # fmt: skip
def test_a_guess_is_what_a_client_likes_best(header: str, guess: str) -> None:
    assert preferred(header) == guess


def test_languages_come_as_they_are_liked() -> None:
    assert accepted("en;q=0.5, fr, *;q=0.1, de-ch;q=0.9, it;q=0") == ["fr", "de-CH", "en"]
