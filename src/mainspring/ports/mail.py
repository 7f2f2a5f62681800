"""The mail port: a message to one person, handed to whoever delivers it."""

from typing import Protocol

import msgspec


class Message(msgspec.Struct, frozen=True):
    """A plain text message. A provider may drop a second one with the same ``id``."""

    id: str
    to: str
    subject: str
    text: str


class MailError(Exception):
    """The message was not taken; sending it again later may work."""


class Mail(Protocol):
    """Hands messages to a provider, at least once. Only jobs send: it is an outside effect."""

    async def send(self, message: Message) -> None:
        """Return once the provider has taken the message. Raises MailError."""
        ...
