"""What a settings struct can say of its fields beyond their type: which of them hold secrets."""

import re

_MASK = "********"
_PASSWORD_IN_URL = re.compile(
    r"(?<=://)(?P<user>[^/?#@:]*:)[^/?#@]*(?=@)|(?<=[?&])(?P<name>[a-z_]*password=)[^&#]*",
    re.IGNORECASE,
)


class Secret:
    """Marks a setting that nobody may read back: ``password: Annotated[str, Secret]``.

    Of a URL only the password is secret, so that a person still sees where it leads.
    """


def masked(secret: object) -> str:
    """Show that a secret is set, and nothing of it; of a URL everything but its password."""
    text = str(secret)
    if "://" in text:
        return _PASSWORD_IN_URL.sub(lambda m: (m["user"] or m["name"]) + _MASK, text)
    return _MASK if text else ""
