"""Idempotency: what identifies a repeated call, and what it was answered the first time.

An answer is a slice of an event of the same commit where one has it. Otherwise a small one stands
in its record, and so does a secret one for the short time it is kept. A larger one stands apart,
once for all the calls of an account that were answered with the same bytes. What stands apart has
a bound per account: past it the oldest lose their bytes, and their calls are told that they took
effect.
"""

import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec

from mainspring.kernel.call import Call, Caller
from mainspring.kernel.errors import AnswerGone, InFlight, KeyRequired, KeyReused, Malformed
from mainspring.kernel.invocation import Headers, Outcome
from mainspring.kernel.lru_cache import LruCache
from mainspring.kernel.operation import Operation, Raw
from mainspring.kernel.table import Statement, Write
from mainspring.ports.database import Database
from mainspring.ports.keyring import Keyring
from mainspring.runtime.invoke.fingerprint import canonical, framed
from mainspring.runtime.tables import (
    ANSWER,
    ANSWER_BODIES,
    ANSWER_BODY,
    ANSWERS,
    EVENT_BODY,
    FORGET_EXPIRED_ANSWER,
    TRIM_ANSWER_BODIES,
    AnswerBody,
    StoredAnswer,
)

KEY_CHARS_MAX = 255
RETRY_AFTER_S = 1
UNMARKED_BYTES = 32  # of a fingerprint of method, URL and body, as versions before made them
ANSWER_KEPT_MS = 24 * 3600 * 1000
SECRET_ANSWER_KEPT_MS = 10 * 60 * 1000
INLINE_BYTES_MAX = 4_096  # of an answer that stands in its record
ANSWER_BYTES_MAX = 4 << 20  # of one answer; the bytes of a larger one are not kept
SHARE_BYTES_MAX = 64 << 20  # of one account's answers that stand apart
TRIM_EVERY_BYTES = SHARE_BYTES_MAX // 8  # written by an account: then its share is looked at
ACCOUNTS_MAX = 10_000  # whose bytes are counted at a time

_FORM = b"2"  # begins a fingerprint of operation and arguments
_PURPOSE = "answers"

_encode = msgspec.json.Encoder().encode
_decode_headers = msgspec.json.Decoder(tuple[str | None, Headers]).decode


class Idempotency(msgspec.Struct, frozen=True):
    """What identifies a repeated call: a keyed hash of its key's scope, and of the request."""

    key_hash: bytes
    fingerprint: bytes
    secret: bool = False


class IdempotencyKeys:
    """Makes the identity of a call from its key, and lets one call per key run at a time."""

    __slots__ = ("_keyring", "_required", "_running")

    def __init__(self, keyring: Keyring, *, required: bool) -> None:
        self._keyring = keyring
        self._required = required
        self._running: set[bytes] = set()

    def identify(
        self, operation: Operation, caller: Caller, key: str | None, args: Mapping[str, Any]
    ) -> Idempotency | None:
        """Return what identifies this call, or None when it carries no key.

        ``args`` are the handler's: the same call is the same whichever interface it comes through,
        and however its JSON was written. An anonymous caller has no identity of its own, so the
        request itself is part of its key's scope. Raises KeyRequired, Malformed.
        """
        if key is None:
            if self._required:
                raise KeyRequired("send Idempotency-Key with every write")
            return None
        if not 1 <= len(key) <= KEY_CHARS_MAX:
            raise Malformed(f"an idempotency key has 1 to {KEY_CHARS_MAX} characters")
        fingerprint = _FORM + self._keyring.fingerprint(
            framed(operation.name.encode(), canonical(args)), purpose="idempotency.request"
        )
        scope = [caller.tenant, caller.kind, caller.id or "", operation.name, key]
        parts = [part.encode() for part in scope]
        if caller.id is None:
            parts.append(fingerprint)
        if caller.impersonator is not None:  # no answer of the user's own is repeated to them
            parts.append(caller.impersonator.encode())
        key_hash = self._keyring.fingerprint(framed(*parts), purpose="idempotency.key")
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


class KeyTaken(Exception):
    """Another call with the same idempotency key has committed first."""


_USER_ID = re.compile(rb"\buser_[0-9a-z]{26}\b")
SEALED_MARK = b'{"sealed":'  # of what a service sealed itself: see ``field_encryption``
_OF_PERSON = "FROM idempotency WHERE person IN (:person, '*')"
_FORGET_BODIES = Statement(
    "runtime.forget_answer_bodies_of",
    f"DELETE FROM answer_bodies WHERE digest IN (SELECT digest {_OF_PERSON})",
)
# One that was stored in the clear counts as sealed from here on: without bytes, it is gone.
_FORGET_PERSON = Statement(
    "runtime.forget_answers_of",
    "UPDATE idempotency SET body = NULL, sealed = true, headers = '[null,[]]' "
    "WHERE person IN (:person, '*')",
)


class Answers:
    """Makes the writes that keep an answer, and reads it back."""

    __slots__ = ("_counting", "_database", "_keyring", "_untrimmed")

    def __init__(self, database: Database, keyring: Keyring) -> None:
        self._database = database
        self._keyring = keyring
        self._counting = threading.Lock()  # a call inside a transaction is of another thread
        self._untrimmed: LruCache[bytes, int] = LruCache(ACCOUNTS_MAX)

    def remember(
        self,
        call: Call,
        outcome: Outcome,
        idempotency: Idempotency,
        slices: Sequence[tuple[str, bytes]],
    ) -> list[Write]:
        """Write down the answer, for the commit it belongs to. Its insert may raise KeyTaken.

        ``slices`` are the ids and data of the call's events. What is not a slice is sealed when it
        is secret, may repeat what its events seal, or has no event that says it holds nothing
        personal; a body that stands apart always is.
        """
        kept_ms = SECRET_ANSWER_KEPT_MS if idempotency.secret else ANSWER_KEPT_MS
        stored = StoredAnswer(
            idempotency.key_hash,
            idempotency.fingerprint,
            outcome.status,
            _encode((outcome.etag, outcome.headers)).decode(),
            outcome.body,
            event_id=None,
            body_from=0,
            body_to=0,
            sealed=False,
            expires_ms=call.now_ms + kept_ms,
            digest=None,
        )
        personal = any(event.type.personal for event in call.events) or any(
            SEALED_MARK in data for _, data in slices
        )
        also: list[Write] = []
        if (found := _slice(outcome.body, slices)) and not idempotency.secret and not personal:
            event_id, body_from = found
            # Offsets count bytes from the end, where the data stands: ``...data}``.
            stored = msgspec.structs.replace(
                stored, body=None, event_id=event_id, body_from=body_from, body_to=1
            )
        elif len(outcome.body) > INLINE_BYTES_MAX and not idempotency.secret:
            digest, also = self._apart(call, outcome.body, stored.expires_ms)
            stored = msgspec.structs.replace(stored, body=None, digest=digest)
        elif isinstance(outcome.value, Raw) and not isinstance(outcome.value.body, bytes):
            stored = msgspec.structs.replace(stored, body=None, sealed=True)  # it was streamed
        elif idempotency.secret or personal or not slices:
            sealed = self._keyring.seal(outcome.body, purpose=_PURPOSE)
            stored = msgspec.structs.replace(stored, body=sealed, sealed=True)
        if stored.event_id is None:  # an event has the personal fields it holds sealed
            stored = msgspec.structs.replace(stored, person=_person(call, outcome.body))
        return [ANSWERS.insert(stored, on_conflict=KeyTaken), *also]

    def _apart(self, call: Call, body: bytes, expires_ms: int) -> tuple[bytes, list[Write]]:
        """Keep a body under its digest. Its row lasts until the end of the day of its expiry.

        The day is part of the digest, so a row that is there already lasts long enough and no
        write has to move its end.
        """
        account = self._keyring.fingerprint(
            _encode((call.tenant, call.account)), purpose="answers.account"
        )
        day = expires_ms // ANSWER_KEPT_MS
        digest = self._keyring.fingerprint(
            b"%d:%b:%b" % (day, account, body), purpose="answers.body"
        )
        if len(body) > ANSWER_BYTES_MAX:
            return digest, []
        row = AnswerBody(
            digest,
            account,
            len(body),
            self._keyring.seal(body, purpose=_PURPOSE),
            call.now_ms,
            (day + 1) * ANSWER_KEPT_MS,
        )
        keep: list[Write] = [ANSWER_BODIES.insert(row, on_conflict=None)]
        with self._counting:
            untrimmed = (self._untrimmed.get(account) or 0) + len(body)
            trims = untrimmed >= TRIM_EVERY_BYTES
            self._untrimmed.put(account, 0 if trims else untrimmed)
        if trims:
            keep.append(TRIM_ANSWER_BODIES(account=account, share=SHARE_BYTES_MAX))
        return digest, keep

    async def replay(self, idempotency: Idempotency, now_ms: int) -> Outcome | None:
        """Return the stored answer of an earlier call with this key; None when there is none.

        A stored 201 comes back as 200. Raises KeyReused when the request was another one,
        AnswerGone when the call took effect and the bytes of its answer are not kept.
        """
        rows = await self._database.read(ANSWER, (idempotency.key_hash,))
        if not rows or rows[0].expires_ms <= now_ms:
            return None
        stored = rows[0]
        if stored.fingerprint != idempotency.fingerprint:
            if len(stored.fingerprint) == UNMARKED_BYTES:
                raise AnswerGone(
                    "a call with this key took effect before the server was upgraded, and whether "
                    "it was this one cannot be told any more: read what it changed, or send a new "
                    "key",
                    extra={"answered": stored.status},
                )
            raise KeyReused("this key came with another request: send a new one with a new key")
        body = await self._body(stored)
        if body is None:
            raise AnswerGone(
                f"this call took effect and was answered {stored.status}; that answer is not kept "
                "any more, for its size or because somebody it tells of was erased: read what it "
                "changed",
                extra={"answered": stored.status},
            )
        etag, headers = _decode_headers(stored.headers)
        status = 200 if stored.status == 201 else stored.status
        return Outcome(status, body, etag, headers, replayed=True)

    async def _body(self, stored: StoredAnswer) -> bytes | None:
        if stored.event_id is not None:
            bodies = await self._database.read(EVENT_BODY, (stored.event_id,))
            text = bodies[0].encode()
            found = text[len(text) - stored.body_from : len(text) - stored.body_to]
            return b"{" + found if found.startswith(b'"') else found
        if stored.digest is not None:
            apart = await self._database.read(ANSWER_BODY, (stored.digest,))
            return self._keyring.unseal(apart[0], purpose=_PURPOSE) if apart else None
        if stored.sealed:
            sealed = stored.body
            return None if sealed is None else self._keyring.unseal(sealed, purpose=_PURPOSE)
        return stored.body or b""

    async def winners(self, idempotency: Idempotency | None, now_ms: int) -> Outcome | None:
        """Return what the call that took the key answered; None when its record has expired.

        An expired record that no sweep has taken yet is removed here, so the next attempt fits.
        """
        assert idempotency is not None  # only its insert raises KeyTaken
        found = await self.replay(idempotency, now_ms)
        if found is None:
            forget = FORGET_EXPIRED_ANSWER(key_hash=idempotency.key_hash, now_ms=now_ms)
            await self._database.commit([forget])
        return found


def forget_person(person: str) -> list[Write]:
    """Remove the bytes of every answer that tells of a person; that they were answered stays."""
    return [_FORGET_BODIES(person=person), _FORGET_PERSON(person=person)]


def _person(call: Call, body: bytes) -> str | None:
    """Whom an answer tells of: those of its events, and whose ids stand in it."""
    of_events = {
        person
        for event in call.events
        if event.type.person and (person := getattr(event.data, event.type.person)) is not None
    }
    persons = of_events | {found.decode() for found in _USER_ID.findall(body)}
    return "*" if len(persons) > 1 else next(iter(persons), None)


def _slice(body: bytes, slices: Sequence[tuple[str, bytes]]) -> tuple[str, int] | None:
    """Find the event whose data ends as this body does: its id, and where that is from the end."""
    for event_id, data in slices:
        if data == body:
            return event_id, len(data) + 1
        if body[:1] == b"{" and data.endswith(b"," + body[1:]):  # it has more before that
            return event_id, len(body)  # without its brace, see ``_body``
    return None
