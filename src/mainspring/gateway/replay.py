"""Idempotency keys: what identifies a repeated call, and the calls that still run."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from mainspring.kernel.call import Caller
from mainspring.kernel.errors import InFlight, KeyRequired, Malformed
from mainspring.kernel.operation import Operation
from mainspring.ports.keyring import Keyring
from mainspring.runtime.invoke.dispatcher import Idempotency

KEY_CHARS_MAX = 255
RETRY_AFTER_S = 1

_QUOTED = re.compile(r'"((?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"')
_BARE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")


def parse_key(header: str) -> str:
    """Read ``Idempotency-Key``, bare or as a quoted string (RFC 9651). Raises Malformed."""
    header = header.strip(" \t")
    quoted = _QUOTED.fullmatch(header)
    key = re.sub(r"\\(.)", r"\1", quoted[1]) if quoted is not None else header
    if not 1 <= len(key) <= KEY_CHARS_MAX or (quoted is None and _BARE.fullmatch(key) is None):
        raise Malformed(f"Idempotency-Key is 1 to {KEY_CHARS_MAX} printable ASCII characters")
    return key


class IdempotencyKeys:
    """Makes the identity of a call from its key, and lets one call per key run at a time."""

    __slots__ = ("_keyring", "_required", "_running")

    def __init__(self, keyring: Keyring, *, required: bool) -> None:
        self._keyring = keyring
        self._required = required
        self._running: set[bytes] = set()

    def identify(
        self,
        operation: Operation,
        caller: Caller,
        header: str | None,
        *request: bytes,
    ) -> Idempotency | None:
        """Return what identifies this call, or None when it carries no key.

        ``request`` is method, path, query and body, or the body's digest. An anonymous caller has
        no identity of its own, so the request itself is part of its key's scope. Raises
        KeyRequired, Malformed.
        """
        if header is None:
            if self._required:
                raise KeyRequired("send Idempotency-Key with every write")
            return None
        key = parse_key(header)
        fingerprint = self._keyring.fingerprint(_framed(*request), purpose="idempotency.request")
        scope = [caller.tenant, caller.kind, caller.id or "", operation.name, key]
        parts = [part.encode() for part in scope]
        if caller.id is None:
            parts.append(fingerprint)
        key_hash = self._keyring.fingerprint(_framed(*parts), purpose="idempotency.key")
        return Idempotency(key_hash, fingerprint, operation.secret)

    @contextmanager
    def running(self, idempotency: Idempotency) -> Iterator[None]:
        """Hold the key while its call runs. Raises InFlight when another one does."""
        key_hash = idempotency.key_hash
        if key_hash in self._running:
            raise InFlight(retry_after_s=RETRY_AFTER_S)
        self._running.add(key_hash)
        try:
            yield
        finally:
            self._running.discard(key_hash)


def _framed(*parts: bytes) -> bytes:
    """Join parts so that no two different lists of parts give the same bytes."""
    lengths = b",".join([b"%d" % len(part) for part in parts])
    return b"".join([lengths, b":", *parts])
