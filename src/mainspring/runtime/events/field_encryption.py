"""Personal fields of events: sealed under a key per person, so that destroying it erases them.

A sealed value stands where the field's value stood: ``{"sealed": BASE64, "person": ID}``, the text
being a random nonce and AES-256-GCM of the value's JSON, bound to the tenant, the person, the event
(or what of a service's own it was sealed for) and the field. It is sealed before the event is
hashed, so erasure changes no byte of the log.

A destroyed key leaves its row as a tombstone. Later events about that person keep nothing in their
personal fields (``"sealed": null``): nobody comes back into the log by a late job.
"""

import base64
import threading
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, cast

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from mainspring.kernel.call import Call, Transaction
from mainspring.kernel.clock import Clock, Entropy, SystemClock
from mainspring.kernel.errors import Rerun
from mainspring.kernel.event import Envelope, StagedEvent
from mainspring.kernel.lru_cache import ExpiringCache, LruCache
from mainspring.kernel.table import Statement, Write
from mainspring.ports.database import Database
from mainspring.runtime.data_keys import DataKeys
from mainspring.runtime.invoke.idempotency import forget_person
from mainspring.runtime.tables import SEALED_SUBJECT_KEYS, SUBJECT_KEY

E = TypeVar("E")

KEYS_HELD_MAX = 10_000  # unsealed keys in memory
KEY_HELD_S = 1.0  # how long another process may still use a key after it was destroyed
SEALED_FIELDS = "sealedfields"  # CloudEvents extension: which fields a reader is not shown

_OLD_VALUES = "before"  # the member of an event that has what its thing had, sealed as it was
_KEY_BYTES = 32
_NONCE_BYTES = 12
_DESTROYED = b""
_MARK = '{"sealed":'

# Succeeds for a new key and again for the same key, so each event that used one carries it along.
_KEEP_KEY = Statement(
    "runtime.keep_subject_key",
    "INSERT INTO subject_keys (tenant, person, sealed) VALUES (:tenant, :person, :sealed)"
    " ON CONFLICT (tenant, person) DO UPDATE SET sealed = excluded.sealed"
    " WHERE subject_keys.sealed = excluded.sealed",
)
_DESTROY_KEY = Statement(
    "runtime.destroy_subject_key",
    "INSERT INTO subject_keys (tenant, person, sealed) VALUES (:tenant, :person, :destroyed)"
    " ON CONFLICT (tenant, person) DO UPDATE SET sealed = excluded.sealed",
)

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.decode
_Person = tuple[str, str]


class _Held(msgspec.Struct, frozen=True):
    """An unsealed key; ``sealed`` is set while its row is not known to be stored."""

    key: bytes
    sealed: bytes | None = None


class FieldEncryption:
    """Seals and reveals the personal fields of one database's events.

    Calls inside a transaction come from another thread.
    """

    __slots__ = ("_clock", "_database", "_drops", "_entropy", "_held", "_lock", "_new", "data_keys")

    def __init__(
        self,
        database: Database,
        data_keys: DataKeys,
        entropy: Entropy,
        clock: Clock = SystemClock(),  # noqa: B008 - it has no state
    ) -> None:
        self._database = database
        self.data_keys = data_keys
        self._clock = clock
        self._entropy = entropy
        self._lock = threading.Lock()  # around what follows
        self._held: ExpiringCache[_Person, _Held] = ExpiringCache(KEYS_HELD_MAX)
        self._new: LruCache[_Person, _Held] = LruCache(KEYS_HELD_MAX)
        self._drops = 0

    async def encode(self, event: StagedEvent, call: Call) -> tuple[bytes, list[Write]]:
        """Return the event's data as JSON with personal fields sealed, and the writes of the key.

        A person's first event makes the key. The call's commit raises Rerun when another process
        made or destroyed it meanwhile.
        """
        data: dict[str, Any] = msgspec.to_builtins(event.data)
        named = {f.name: f.encode_name for f in msgspec.structs.fields(event.data)}
        personal = [named[name] for name in event.type.personal]
        present = [name for name in personal if data.get(name) not in (None, {})]
        if not present:
            return event.json, []
        assert event.type.person is not None  # a type with personal fields says whose they are
        person = getattr(event.data, event.type.person)
        if person is None:  # it tells of nobody
            return event.json, []
        held = await self._key_for(person, call)
        for name in present:
            data[name] = self._sealed(held, call.tenant, person, event.id, name, data[name])
        return _encode(data), _keeping(call, person, held)

    async def seal(
        self, call: Call, person: str, about: str, values: Mapping[str, Any]
    ) -> tuple[dict[str, Any], list[Write]]:
        """Seal values of a thing of a service's own, as ``encode`` seals those of an event."""
        held = await self._key_for(person, call)
        made = {
            name: None
            if value is None
            else self._sealed(held, call.tenant, person, about, name, value)
            for name, value in values.items()
        }
        return made, _keeping(call, person, held)

    async def open(self, call: Call, about: str, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return values as they were before they were sealed; null whose person was erased."""
        made = dict(values)
        for name, value in values.items():
            if not _is_sealed(value):
                continue
            person = value["person"]
            if (held := self._fresh(call.tenant, person)) is None:
                drops = self._drops
                row = await call.find_newest(SUBJECT_KEY, tenant=call.tenant, person=person)
                if row is not None and row.sealed != _DESTROYED:
                    held = await self._hold(call.tenant, person, row.sealed, drops, call)
            key = None if held is None else held.key
            try:
                made[name] = _opened(key, call.tenant, (about,), name, value)
            except (ValueError, InvalidTag):
                continue  # somebody's own data that looks like ours
        return made

    def _sealed(
        self, held: _Held | None, tenant: str, person: str, about: str, name: str, value: Any
    ) -> dict[str, Any]:
        """What stands in the place of a value; without a key nothing is kept of it."""
        if held is None:
            return {"sealed": None, "person": person}
        nonce = self._entropy.token(_NONCE_BYTES)
        bound = _bound(tenant, person, about, name)
        sealed = nonce + AESGCM(held.key).encrypt(nonce, _encode(value), bound)
        return {"sealed": base64.b64encode(sealed).decode(), "person": person}

    async def reveal(self, body: str, *, allowed: bool = True) -> str:
        """Return an event with its personal fields readable again.

        A field that may not be shown (``allowed`` is false) or whose key was destroyed is null, and
        the extension ``sealedfields`` names it. Events without such fields come back as they are.
        """
        if not self.seals(body):
            return body
        event: dict[str, Any] = _decode(body)
        data = event.get("data")
        if not isinstance(data, dict):
            return body
        abouts = event["id"], event["subject"]
        withheld = await self._open_all(data, event["tenant"], abouts, allowed=allowed)
        if isinstance(before := data.get(_OLD_VALUES), dict):
            old = await self._open_all(before, event["tenant"], abouts, allowed=allowed)
            withheld += [f"{_OLD_VALUES}.{name}" for name in old]
        if withheld:
            seq = event.pop("seq", None)
            del event["data"]
            event |= {SEALED_FIELDS: ",".join(withheld), "data": data}
            if seq is not None:
                event["seq"] = seq
        return _encode(event).decode()

    def seals(self, body: str) -> bool:
        """Tell whether an event may have sealed fields: others need not be revealed."""
        return _MARK in body

    async def read(self, event: Envelope, data: type[E]) -> E:
        """Decode an event's data into its struct, personal fields readable again.

        One whose key was destroyed is null, or empty where the struct takes no null.
        """
        if _MARK.encode() not in bytes(event.data):
            return event.read(data)
        values: dict[str, Any] = _decode(event.data)
        abouts = event.id, event.subject
        erased = await self._open_all(values, event.tenant, abouts, allowed=True)
        try:
            return msgspec.convert(values, data)
        except msgspec.ValidationError:
            if not erased:
                raise
            kinds = {f.encode_name: f.type for f in msgspec.structs.fields(cast(Any, data))}
            empty = {name: _empty(kinds[name]) for name in erased if name in kinds}
            return msgspec.convert(values | empty, data)

    async def knows(self, call: Call, person: str) -> bool:
        """Tell whether a person has a key that was not destroyed."""
        row = await call.find_newest(SUBJECT_KEY, tenant=call.tenant, person=person)
        return row is not None and row.sealed != _DESTROYED

    def erase(self, call: Call, person: str) -> list[Write]:
        """Destroy a person's key, for good, and forget what stored answers tell of them."""
        destroy = _DESTROY_KEY(tenant=call.tenant, person=person, destroyed=_DESTROYED)
        return [destroy, *forget_person(person)]

    def forget(self, tenant: str, person: str) -> None:
        """Drop a person's key from memory."""
        with self._lock:
            self._drops += 1
            self._held.pop((tenant, person))
            self._new.pop((tenant, person))

    def forget_all(self) -> None:
        """Drop every key from memory, as when somebody was erased elsewhere."""
        with self._lock:
            self._drops += 1
            self._held.clear()
            self._new.clear()

    def on_commit(self, call: Call, events: Sequence[StagedEvent]) -> None:
        """Drop the keys of those a commit of this process has erased."""
        for event in events:
            if event.type.erases is not None:
                self.forget(call.tenant, getattr(event.data, event.type.erases))

    async def _open_all(
        self, data: dict[str, Any], tenant: str, abouts: Sequence[str], *, allowed: bool
    ) -> list[str]:
        """Put values in the place of sealed ones, null where that cannot be; name the nulls.

        They were sealed for the event, or for what it is about: that is in ``abouts``.
        """
        withheld = []
        for name, value in data.items():
            if not _is_sealed(value):
                continue
            try:
                key = await self._key(tenant, value["person"]) if allowed else None
                plain = _opened(key, tenant, abouts, name, value)
            except (ValueError, InvalidTag):
                continue  # somebody's own data that looks like ours
            data[name] = plain
            if plain is None:
                withheld.append(name)
        return withheld

    async def _key(self, tenant: str, person: str) -> bytes | None:
        if (held := self._fresh(tenant, person)) is not None:
            return held.key
        drops = self._drops
        rows = await self._database.read(SUBJECT_KEY, (tenant, person))
        if not rows or rows[0].sealed == _DESTROYED:
            return None
        return (await self._hold(tenant, person, rows[0].sealed, drops)).key

    async def _key_for(self, person: str, call: Call) -> _Held | None:
        """Return the key to seal with; None when it was destroyed."""
        if (held := self._fresh(call.tenant, person)) is not None:
            return held
        drops = self._drops
        # Through the call: inside a transaction nothing else may be read.
        row = await call.find_newest(SUBJECT_KEY, tenant=call.tenant, person=person)
        if row is not None and row.sealed == _DESTROYED:
            return None
        if row is not None:
            return await self._hold(call.tenant, person, row.sealed, drops, call)
        with self._lock:
            made = self._new.get((call.tenant, person))
        if made is not None:
            return made
        key, column = self._entropy.token(_KEY_BYTES), SEALED_SUBJECT_KEYS
        fresh = _Held(key, await self.data_keys.seal(call, column, key, call.tenant, person))
        with self._lock:
            made = self._new.get((call.tenant, person)) or fresh  # another call's, of meanwhile
            self._new.put((call.tenant, person), made)
        return made

    def _fresh(self, tenant: str, person: str) -> _Held | None:
        with self._lock:
            return self._held.get((tenant, person), self._clock.monotonic_s())

    async def _hold(
        self, tenant: str, person: str, sealed: bytes, drops: int, call: Call | None = None
    ) -> _Held:
        inside = isinstance(call, Transaction)
        held = _Held(
            await self.data_keys.open_of(
                tenant, SEALED_SUBJECT_KEYS, sealed, tenant, person, inside=inside
            )
        )
        now_s = self._clock.monotonic_s()
        with self._lock:
            self._new.pop((tenant, person))
            if drops == self._drops:  # else the row may have been read before somebody's erasure
                self._held.put((tenant, person), held, now_s, now_s + KEY_HELD_S)
        return held


def _keeping(call: Call, person: str, held: _Held | None) -> list[Write]:
    """The writes that keep a key which is new."""
    if held is None or held.sealed is None:
        return []
    keep = _KEEP_KEY(tenant=call.tenant, person=person, sealed=held.sealed)
    return [keep.expect(1, Rerun)]


def _opened(
    key: bytes | None, tenant: str, abouts: Sequence[str], name: str, value: Mapping[str, Any]
) -> Any:
    """Unseal one value; None without its key. Raises when it was sealed for none of ``abouts``."""
    if key is None or value["sealed"] is None:
        return None
    sealed = base64.b64decode(value["sealed"], validate=True)
    nonce, rest = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
    *others, last = (_bound(tenant, value["person"], about, name) for about in abouts)
    for bound in others:
        try:
            return _decode(AESGCM(key).decrypt(nonce, rest, bound))
        except InvalidTag:
            continue
    return _decode(AESGCM(key).decrypt(nonce, rest, last))


def _empty(kind: Any) -> Any:
    """What stands for a value that is gone, of a type that takes no null."""
    for empty in cast(tuple[Any, ...], ("", {}, [])):
        try:
            return msgspec.convert(empty, kind)
        except msgspec.ValidationError:
            continue
    return None


def _is_sealed(value: object) -> bool:
    return (
        isinstance(value, dict)
        and value.keys() == {"sealed", "person"}
        and isinstance(value["person"], str)
        and isinstance(value["sealed"], str | None)
    )


def _bound(tenant: str, person: str, event_id: str, field: str) -> bytes:
    """What a sealed value is tied to: copied anywhere else it does not open."""
    return _encode((tenant, person, event_id, field))
