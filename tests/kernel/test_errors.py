"""Failures: what one says of a single wrong value, and of several together."""

import pytest

from mainspring import FieldError, FieldErrors, Invalid, check_all, epoch_ms, read_at
from mainspring.kernel.errors import FIELD_ERRORS_MAX
from mainspring.services.users.api.errors import BadMailToken


def test_one_wrong_value_is_told_where_it_is_and_in_the_detail() -> None:
    refused = BadMailToken.at("/token", "is expired")
    assert type(refused) is BadMailToken
    assert refused.errors == (FieldError("/token", "is expired"),)
    assert refused.detail == "/token: is expired"
    assert Invalid.at("", "takes no body", "no body, please").detail == "no body, please"


def test_what_cannot_be_read_is_invalid_at_its_place() -> None:
    assert read_at("/since", epoch_ms, "1970-01-01T00:00:01Z") == 1_000
    with pytest.raises(Invalid) as caught:
        read_at("/since", epoch_ms, "2026-02-30T00:00:00Z")
    (told,) = caught.value.errors
    assert told == FieldError("/since", "'2026-02-30T00:00:00Z' is not a moment that exists")


def test_errors_of_several_checks_are_told_together_and_those_beyond_are_counted() -> None:
    def refuse(count: int) -> None:
        raise Invalid(errors=[FieldError(f"/{at}", "wrong") for at in range(count)])

    with pytest.raises(Invalid) as caught:
        check_all("all of it", lambda: refuse(FIELD_ERRORS_MAX + 2), lambda: refuse(3))
    assert caught.value.detail == "all of it"
    assert (len(caught.value.errors), caught.value.errors_more) == (FIELD_ERRORS_MAX, 5)
    told = FieldErrors()
    told.extend([FieldError("/a", "wrong")], more=4)
    assert len(told) == 5
