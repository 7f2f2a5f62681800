"""How every adapter is opened: by ``open(url)`` of its module, whose scheme names the adapter."""

from pathlib import Path

import msgspec

from mainspring.kernel.clock import Clock, Entropy, SystemClock, SystemEntropy
from mainspring.ports.database import StartError


class Sources(msgspec.Struct, frozen=True):
    """Where an adapter's time and chance come from: a test holds both still."""

    clock: Clock
    entropy: Entropy


SYSTEM_SOURCES = Sources(SystemClock(), SystemEntropy())


def path_of(url: str) -> Path:
    """Return the path behind the scheme. Raises StartError when there is none."""
    scheme, _, path = url.partition(":")
    if not path:
        raise StartError(f"{url!r}: which file or directory? Write {scheme}:PATH")
    return Path(path)


def require_bare(url: str) -> None:
    """Raise StartError where a URL says more than its scheme, to an adapter that takes no more."""
    scheme, _, rest = url.partition(":")
    if rest:
        raise StartError(f"{url!r}: {scheme}: takes nothing behind the colon; write {scheme}:")
