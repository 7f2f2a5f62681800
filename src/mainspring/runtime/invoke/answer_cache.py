"""Answers that anybody may keep, kept here too for as long as they say.

Only those of operations that declare it (``CachePolicy(public=True, max_age_s=…)``): such an answer
is the same for everybody, for it is made without knowing who asks.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec

from mainspring.kernel.clock import Clock
from mainspring.kernel.invocation import Headers, Outcome
from mainspring.kernel.operation import Operation
from mainspring.ports.cache import Cache
from mainspring.runtime.invoke.fingerprint import canonical, framed


class _KeptAnswer(msgspec.Struct, frozen=True, array_like=True):
    made_ms: int
    body: bytes
    etag: str | None
    headers: Headers


_FORM = 1  # of what is kept: processes of several versions may share a cache
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_KeptAnswer).decode


class AnswerCache:
    """Keeps the answers of public operations by operation and arguments."""

    def __init__(self, cache: Cache, clock: Clock) -> None:
        self._cache = cache
        self._clock = clock

    def key(self, operation: Operation, tenant: str, args: Mapping[str, Any]) -> str:
        """What this answer is kept under."""
        parts = framed(tenant.encode(), operation.name.encode(), canonical(args))
        return f"answer/{_FORM}/" + hashlib.sha256(parts).hexdigest()

    async def get(self, key: str) -> Outcome | None:
        """Return the answer that is kept, with its age (RFC 9111, section 5.1).

        So whoever keeps it further does not show it for longer than was said in all.
        """
        found = self._cache.get(key)
        if found is not None and not isinstance(found, bytes):
            found = await found
        if found is None:
            return None
        try:
            kept = _decode(found)
        except msgspec.MsgspecError:  # another version of the program put it into a shared store
            return None
        age_s = max(0, -((kept.made_ms - self._clock.now_ms()) // 1000))  # rounded up
        return Outcome(200, kept.body, kept.etag, (*kept.headers, ("Age", str(age_s))))

    def put(self, key: str, operation: Operation, made_ms: int, outcome: Outcome) -> None:
        """Keep an answer that was read at a moment; one with another status than 200 is not."""
        if operation.cache is None or outcome.status != 200:
            return
        kept = _encode(_KeptAnswer(made_ms, outcome.body, outcome.etag, outcome.headers))
        left_s = operation.cache.max_age_s - (self._clock.now_ms() - made_ms) / 1000
        self._cache.put(key, kept, kept_s=left_s)
