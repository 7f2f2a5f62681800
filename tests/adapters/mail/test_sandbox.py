"""The mail sandbox: what is recorded, who may read it, how much is kept."""

import stat
from pathlib import Path

import pytest

from mainspring.adapters.mail.sandbox import SandboxMail
from mainspring.ports.mail import Mail, MailError, MailMessage


def message(number: int) -> MailMessage:
    return MailMessage(f"job_{number:03d}", "ann@example.com", f"No. {number}", "Hello,\nAnn")


async def test_a_message_is_recorded_for_its_owner_only(tmp_path: Path) -> None:
    mail = SandboxMail(tmp_path / "mail")
    port: Mail = mail
    await port.send(message(1))
    assert await mail.sent() == [message(1)]
    (path,) = (tmp_path / "mail").iterdir()
    assert path.name == "job_001.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_the_oldest_make_room(tmp_path: Path) -> None:
    mail = SandboxMail(tmp_path / "mail", messages_max=3)
    for number in range(5):
        await mail.send(message(number))
    assert await mail.sent() == [message(2), message(3), message(4)]


async def test_a_disk_that_refuses_is_a_mail_error(tmp_path: Path) -> None:
    (tmp_path / "mail").write_text("a file where the directory should be")
    with pytest.raises(MailError):
        await SandboxMail(tmp_path / "mail").send(message(1))


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".x", "a" * 200])
async def test_an_id_cannot_leave_the_directory(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="cannot name"):
        await SandboxMail(tmp_path / "mail").send(MailMessage(name, "a@example.com", "s", "t"))
