"""Every mail adapter against the conformance suite that ships with Mainspring."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from mainspring.adapters.mail import sandbox
from mainspring.ports.mail import Mail
from mainspring.testing.conformance.mail import CHECKS, Delivered


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_mail(check: Callable[[Mail, Delivered], Awaitable[None]], tmp_path: Path) -> None:
    mail = sandbox.open(f"sandbox:{tmp_path / 'mail'}")
    await check(mail, mail.sent)
