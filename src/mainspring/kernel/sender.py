"""Where a call came from, as far as its interface knows: told to people, and never relied on."""

import msgspec

from mainspring.kernel.language_tag import preferred

USER_AGENT_CHARS_MAX = 400
_PRINTABLE = bytes(byte if 0x20 <= byte <= 0x7E else ord("?") for byte in range(256))


class Sender(msgspec.Struct, frozen=True):
    """The network address of a client, and what its program calls itself.

    ``address`` is the one that limits count: behind a trusted proxy, the one that it names.
    ``user_agent`` is what anyone may write there: printable ASCII, cut. ``language`` is the one it
    likes best (BCP 47), empty where it does not say.
    """

    address: str
    user_agent: str = ""
    language: str = ""


def sender(address: str, user_agent: bytes | None, accept_language: bytes | None = None) -> Sender:
    """Write down where a call came from."""
    text = (user_agent or b"")[:USER_AGENT_CHARS_MAX].translate(_PRINTABLE)
    language = "" if accept_language is None else preferred(accept_language.decode("latin-1"))
    return Sender(address, text.decode("ascii").strip(), language)
