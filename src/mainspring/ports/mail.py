"""The mail port: a message to one person, handed to whoever delivers it."""

from typing import Protocol

import msgspec


class MailMessage(msgspec.Struct, frozen=True):
    """A message, as plain text and perhaps as HTML too. Of one ``id`` a provider may drop a second.

    ``person`` is whom it is to, as ``forget`` names them; it is not sent.
    """

    id: str
    to: str
    subject: str
    text: str
    person: str = ""
    html: str = ""


class MailError(Exception):
    """The message was not taken; sending it again later may work. It names no address."""


class MailRefused(MailError):
    """The message was refused for good: nobody has the address, or nothing is taken for it."""


class Mail(Protocol):
    """Hands messages to a provider, at least once. Only jobs send: it is an outside effect."""

    async def send(self, message: MailMessage) -> None:
        """Return once the provider has taken the message. Raises MailError, MailRefused."""
        ...

    async def forget(self, person: str) -> None:
        """Remove what is kept of mails to a person; repeating it is fine. Raises MailError."""
        ...

    async def check(self) -> str:
        """Say where messages go, once it is sure that they would be taken. Raises MailError."""
        ...
