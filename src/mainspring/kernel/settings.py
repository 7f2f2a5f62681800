"""What a settings struct can say of its fields beyond their type: which of them hold secrets."""

import re
from urllib.parse import urlsplit

_MASK = "********"
_PASSWORD_IN_URL = re.compile(r"^([a-z][a-z0-9+.-]*://[^/?#@:]*:)[^/?#@]*@", re.IGNORECASE)


class Secret:
    """Marks a setting that nobody may read back: ``password: Annotated[str, Secret]``.

    Of a URL only the password is secret, so that a person still sees where it leads.
    """


def masked(secret: object) -> str:
    """Show that a secret is set, and nothing of it; of a URL everything but its password."""
    text = str(secret)
    if not text:
        return ""
    if "://" in text and not urlsplit(text).query:
        return _PASSWORD_IN_URL.sub(rf"\1{_MASK}@", text)
    return _MASK
