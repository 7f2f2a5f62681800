"""A sandbox for mail: records what it was asked to send and sends nothing.

Each message is a JSON file named after its id, mode 0600 because messages hold secrets. Ids that
sort in the order they were made (TypeIDs) keep the newest when the oldest go.
"""

import asyncio
import contextlib
import re
from pathlib import Path

import msgspec

from mainspring.adapters import private_file
from mainspring.ports.database import StartError
from mainspring.ports.mail import MailError, MailMessage
from mainspring.ports.opening import SYSTEM_SOURCES, Sources, path_of

MESSAGES_MAX = 1_000  # kept; one more pushes out the oldest

_NAME = re.compile(r"[A-Za-z0-9_-]{1,128}")


def open(url: str, sources: Sources = SYSTEM_SOURCES) -> "SandboxMail":
    """Record mail in a directory: ``sandbox:PATH``. Raises StartError."""
    return SandboxMail(path_of(url))


class SandboxMail:
    """Fills the mail port from a directory."""

    def __init__(self, directory: Path, *, messages_max: int = MESSAGES_MAX) -> None:
        self._directory = directory
        self._messages_max = messages_max

    async def send(self, message: MailMessage) -> None:
        """Record the message; the same id replaces the earlier one. Raises MailError."""
        if _NAME.fullmatch(message.id) is None:
            raise ValueError(f"{message.id!r} cannot name a message")
        try:
            await asyncio.to_thread(self._record, message)
        except (OSError, StartError) as error:
            raise MailError(str(error)) from None

    async def forget(self, person: str) -> None:
        """Remove a person's messages. Raises MailError."""
        try:
            await asyncio.to_thread(self._remove, person)
        except (OSError, StartError) as error:
            raise MailError(str(error)) from None

    async def check(self) -> str:
        """Say where messages are kept."""
        return f"the sandbox: nothing is sent, messages are kept in {self._directory}"

    async def sent(self) -> list[MailMessage]:
        """Return what is recorded, the oldest first."""
        return await asyncio.to_thread(self._recorded)

    def _record(self, message: MailMessage) -> None:
        data = msgspec.json.format(msgspec.json.encode(message), indent=2)
        private_file.write(self._directory / f"{message.id}.json", data + b"\n")
        for path in self._paths()[: -self._messages_max]:
            path.unlink(missing_ok=True)

    def _recorded(self) -> list[MailMessage]:
        return [_message(path) for path in self._paths()]

    def _remove(self, person: str) -> None:
        for path in self._paths():
            with contextlib.suppress(FileNotFoundError):  # pushed out meanwhile
                if _message(path).person == person:
                    path.unlink()

    def _paths(self) -> list[Path]:
        return sorted(path for path in self._directory.glob("*.json") if path.name[0] != ".")


def _message(path: Path) -> MailMessage:
    return msgspec.json.decode(private_file.read(path), type=MailMessage)
