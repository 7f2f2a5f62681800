"""Every mail adapter against the conformance suite that ships with Mainspring."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from mainspring.adapters.mail import sandbox, smtp
from mainspring.ports.mail import Mail
from mainspring.testing.conformance.mail import CHECKS, Delivered
from tests.smtp_server import SENDER, SmtpServer

Check = Callable[[Mail, Delivered], Awaitable[None]]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_mail(check: Check, tmp_path: Path) -> None:
    mail = sandbox.open(f"sandbox:{tmp_path / 'mail'}")
    await check(mail, mail.sent)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_smtp(check: Check, tmp_path: Path) -> None:
    async with SmtpServer(tmp_path, "smtp+plain") as server:
        mail = smtp.open(f"smtp+plain://127.0.0.1:{server.port}?from={SENDER}")
        await check(mail, server.sent)
