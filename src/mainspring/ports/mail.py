"""The mail port: a message to one person, handed to whoever delivers it."""

from typing import Protocol

import msgspec


class MailMessage(msgspec.Struct, frozen=True):
    """A plain text message. A provider may drop a second one with the same ``id``.

    ``person`` is whom it is to, as ``forget`` names them; it is not sent.
    """

    id: str
    to: str
    subject: str
    text: str
    person: str = ""


class MailError(Exception):
    """The message was not taken; sending it again later may work."""


class Mail(Protocol):
    """Hands messages to a provider, at least once. Only jobs send: it is an outside effect."""

    async def send(self, message: MailMessage) -> None:
        """Return once the provider has taken the message. Raises MailError."""
        ...

    async def forget(self, person: str) -> None:
        """Remove what is kept of mails to a person; repeating it is fine. Raises MailError."""
        ...
