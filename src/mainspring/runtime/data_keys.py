"""Data keys: what seals the values of declared columns, one per tenant and purpose at a time.

They stand in the database, wrapped by the keyring's root key or by a KMS, and in the memory of a
process for ``HELD_S``. One is made when it is first needed, in a commit of its own: it is stored
before anything is sealed with it, and a call that fails leaves it for the next. Values from before
there were data keys are opened by the keyring.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

import msgspec
import structlog

from mainspring.kernel.call import Call, Transaction
from mainspring.kernel.clock import Clock, Entropy
from mainspring.kernel.errors import Rerun, Unavailable
from mainspring.kernel.lru_cache import ExpiringCache
from mainspring.kernel.sealed import SealedColumn
from mainspring.kernel.table import Query, Statement, Table
from mainspring.ports.database import Database
from mainspring.ports.keyring import Keyring
from mainspring.ports.kms import Kms, Wrapped, WrappingKey
from mainspring.runtime.data_key import ID_BYTES, SECRET_BYTES, DataKey, key_id_of
from mainspring.runtime.keyring_kms import KeyringKms

DATA_KEYS_MIGRATION = "runtime/0024_data_keys"
HELD_S = 300.0  # how long a data key is in memory, and how long one that is not the newest seals
HELD_MAX = 1_000  # data keys in memory
LEFT_ALONE_S = 1.0  # how long a KMS is not asked that was away

T = TypeVar("T")

log = structlog.get_logger()


class KeyringSettings(msgspec.Struct, frozen=True):
    """``[keyring]``: which key wraps data keys. ``keyring:`` is the keyring's own root.

    ``former_kms`` unwraps what ``kms`` cannot, and wraps nothing.
    """

    kms: str = "keyring:"
    former_kms: str = ""

    def __post_init__(self) -> None:
        former = self.former_kms.partition(":")[0]
        if former and former in (self.kms.partition(":")[0], "keyring"):
            raise ValueError("former_kms is not needed for what kms or the keyring unwraps")


class DataKeyRow(msgspec.Struct, frozen=True):
    """A data key as it is stored: wrapped, and by which key."""

    id: str
    tenant: str
    purpose: str
    generation: int
    wrapped: bytes
    wrapped_by: str
    created_ms: int

    @property
    def context(self) -> dict[str, str]:
        """What it is for, as it is bound to its wrapping."""
        return {"tenant": self.tenant, "purpose": self.purpose, "data_key": self.id}


DATA_KEYS = Table("data_keys", DataKeyRow, key=("id",))
ALL_DATA_KEYS = Query(
    "runtime.data_keys",
    f"SELECT {DATA_KEYS.columns} FROM data_keys ORDER BY purpose, tenant, generation",
    DATA_KEYS,
)
_NEWEST = Query(
    "runtime.newest_data_key",
    f"SELECT {DATA_KEYS.columns} FROM data_keys WHERE tenant = :tenant AND purpose = :purpose "
    "ORDER BY generation DESC LIMIT 1",
    DATA_KEYS,
)
_BY_ID = Query(
    "runtime.data_key", f"SELECT {DATA_KEYS.columns} FROM data_keys WHERE id = :id", DATA_KEYS
)
GENERATIONS: Query[tuple[str, int]] = Query(
    "runtime.data_key_generations",
    "SELECT purpose, max(generation) FROM data_keys GROUP BY purpose",
    tuple,
    long=(True, False),
)
REWRAP = Statement(
    "runtime.rewrap_data_key",
    "UPDATE data_keys SET wrapped = :wrapped, wrapped_by = :wrapped_by "
    "WHERE id = :id AND wrapped = :was",
)


class NoSuchKms(Unavailable):
    """A data key was wrapped by a KMS that no setting names."""


class KeyNotHeld(Rerun):
    """A handler inside a transaction needs a data key that is not in memory.

    It is fetched outside of it, where others do not wait meanwhile; then the handler runs again.
    """

    def __init__(self, fetch: Callable[[], Awaitable[object]]) -> None:
        super().__init__()
        self.fetch = fetch


class _Held(msgspec.Struct, frozen=True):
    """An unwrapped data key, and what it is for."""

    tenant: str
    purpose: str
    key: DataKey


class DataKeys:
    """Seals and opens the values of one database, and keeps its data keys.

    Calls inside a transaction come from another thread. ``kms`` wraps; without it the keyring does.
    ``former`` unwraps what another did before.
    """

    __slots__ = (
        "_clock", "_database", "_drops", "_entropy", "_fetching", "_held", "_keyring",
        "_left_until", "_lock", "_looks", "_newest", "_unwraps", "kms",
    )  # fmt: skip

    def __init__(
        self,
        database: Database,
        keyring: Keyring,
        clock: Clock,
        entropy: Entropy,
        *,
        kms: Kms | None = None,
        former: Kms | None = None,
    ) -> None:
        self._database = database
        self._keyring = keyring
        self._clock = clock
        self._entropy = entropy
        own = KeyringKms(keyring)
        self.kms: Kms = kms or own
        every = (own, *(one for one in (former, kms) if one is not None))
        self._unwraps = {one.scheme: one for one in every}
        self._left_until: dict[str, float] = {}  # until when a KMS is left alone, by its scheme
        self._fetching: dict[object, asyncio.Task[_Held]] = {}
        self._lock = threading.Lock()  # around what follows
        self._held: ExpiringCache[str, _Held] = ExpiringCache(HELD_MAX)
        self._newest: ExpiringCache[tuple[str, str], str] = ExpiringCache(HELD_MAX)
        self._drops = self._looks = 0

    async def connect(self) -> None:
        """Begin with the KMS. One that is away is no reason not to begin. Raises StartError."""
        for kms in self._unwraps.values():
            await kms.open()

    async def disconnect(self) -> None:
        """Let go of it."""
        for kms in self._unwraps.values():
            await kms.close()

    # Values

    async def seal(self, call: Call, column: SealedColumn, plain: bytes, *key: str | int) -> bytes:
        """Encrypt a value of the call's tenant for its row. Raises Unavailable."""
        inside = isinstance(call, Transaction)
        newest = await self._newest_of(call.tenant, column.purpose, inside=inside)
        return newest.key.seal(plain, column.about(call.tenant, *key))

    async def open(self, call: Call, column: SealedColumn, sealed: bytes, *key: str | int) -> bytes:
        """Decrypt a value of the call's tenant. Raises ValueError, Unavailable."""
        inside = isinstance(call, Transaction)
        return await self.open_of(call.tenant, column, sealed, *key, inside=inside)

    async def open_of(
        self,
        tenant: str,
        column: SealedColumn,
        sealed: bytes,
        *key: str | int,
        inside: bool = False,
    ) -> bytes:
        """Decrypt a value of a tenant, where no call is. Raises ValueError, Unavailable."""
        about = column.about(tenant, *key)
        if not (key_id := key_id_of(sealed)):
            return self._keyring.unseal(sealed, purpose=column.purpose, about=about)
        held = self._in_memory(key_id)
        if held is None and inside:
            raise KeyNotHeld(partial(self._by_id, key_id))
        if held is None:
            held = await self._by_id(key_id)
        if (held.tenant, held.purpose) != (tenant, column.purpose):
            raise ValueError(f"not sealed for {column.purpose} of this tenant")
        return held.key.open(sealed, about)

    async def sealed_anew(
        self, tenant: str, column: SealedColumn, sealed: bytes, *key: str | int
    ) -> bytes | None:
        """Return a value under the newest data key, None where it is. Raises as ``open`` does."""
        newest = await self._newest_of(tenant, column.purpose)
        if key_id_of(sealed) == newest.key.id.hex():
            return None
        plain = await self.open_of(tenant, column, sealed, *key)
        return newest.key.seal(plain, column.about(tenant, *key))

    # Keys

    def forget_newest(self) -> None:
        """Look which data keys are the newest before anything else is sealed."""
        with self._lock:
            self._looks += 1
            self._newest.clear()

    def forget_all(self) -> None:
        """Drop every key from memory, as when the database may have lost some."""
        with self._lock:
            self._drops += 1
            self._newest.clear()
            self._held.clear()

    @property
    def has_kms(self) -> bool:
        """Whether another machine may be asked for keys."""
        return len(self._unwraps) > 1

    def away(self) -> str:
        """Say why a KMS could not be asked a moment ago; empty when it could."""
        return next((why for kms in self._unwraps.values() if (why := kms.away())), "")

    async def describe(self) -> WrappingKey:
        """Tell which key wraps from now on. Raises Unavailable."""
        return await self._asked(self.kms, self.kms.describe())

    async def may_be_behind(self) -> bool:
        """Tell whether a data key may be wrapped by another key than the current one.

        A KMS is not asked.
        """
        rows = await self._rows()
        if not isinstance(self.kms, KeyringKms):
            return bool(rows)
        by = (await self.kms.describe()).name
        return any(row.wrapped_by != by for row in rows)

    async def add_generation(self, now_ms: int) -> int:
        """Make a new data key for every tenant and purpose that has one; return how many.

        They are stored in one commit. Processes seal with them within ``HELD_S``.
        """
        newest = {(row.tenant, row.purpose): row for row in await self._rows()}
        rows = [
            (await self._made(row.tenant, row.purpose, row.generation + 1, now_ms))[0]
            for row in newest.values()
        ]
        await self._database.commit([DATA_KEYS.insert(row) for row in rows])
        self.forget_newest()
        return len(rows)

    async def rewrapped(self, row: DataKeyRow) -> Wrapped:
        """Return a data key wrapped by the current key. Raises ValueError, Unavailable."""
        secret = await self._unwrapped(row)
        return await self._asked(self.kms, self.kms.wrap(secret, row.context))

    async def _rows(self) -> list[DataKeyRow]:
        return await self._database.read(ALL_DATA_KEYS, ())

    def _in_memory(self, key_id: str) -> _Held | None:
        with self._lock:
            return self._held.get(key_id, self._clock.monotonic_s())

    async def _newest_of(self, tenant: str, purpose: str, *, inside: bool = False) -> _Held:
        now_s = self._clock.monotonic_s()
        with self._lock:
            key_id = self._newest.get((tenant, purpose), now_s)
            held = None if key_id is None else self._held.get(key_id, now_s)
        if held is not None:
            return held
        fetch = partial(self._once, (tenant, purpose), partial(self._find_newest, tenant, purpose))
        if inside:
            raise KeyNotHeld(fetch)
        try:
            return await fetch()
        except ValueError as error:
            log.error("data_key_not_opened", purpose=purpose, error=str(error))
            raise Unavailable("the key that seals this cannot be opened now") from error

    async def _by_id(self, key_id: str) -> _Held:
        return await self._once(key_id, partial(self._find, key_id))

    async def _once(self, what: object, fetch: Callable[[], Awaitable[_Held]]) -> _Held:
        """Fetch a key once for all who miss it at a time; who gives up leaves it to the others."""
        task = self._fetching.get(what)
        if task is None:

            async def fetched() -> _Held:
                try:
                    return await fetch()
                finally:
                    del self._fetching[what]

            task = self._fetching[what] = asyncio.create_task(fetched())
            task.add_done_callback(_looked_at)
        return await asyncio.shield(task)

    async def _find_newest(self, tenant: str, purpose: str) -> _Held:
        drops, looks, asked_s = self._drops, self._looks, self._clock.monotonic_s()
        newest = await self._database.read(_NEWEST, (tenant, purpose))
        if not newest:
            await self._make(tenant, purpose)
            newest = await self._database.read(_NEWEST, (tenant, purpose))
        if not newest:  # it was taken away at once, or the database is another by now
            raise Unavailable("no key is there to seal this with; try again")
        key_id = newest[0].id
        held = await self._by_id(key_id)
        with self._lock:
            if (drops, looks) == (self._drops, self._looks):
                self._newest.put((tenant, purpose), key_id, asked_s, asked_s + HELD_S)
        return held

    async def _make(self, tenant: str, purpose: str) -> None:
        """Store the first data key of a tenant and purpose; of several who do, one is kept."""
        generations = dict(await self._database.read(GENERATIONS, ()))
        generation = generations.get(purpose, 1)
        row, held = await self._made(tenant, purpose, generation, self._clock.now_ms())
        drops = self._drops
        await self._database.commit([DATA_KEYS.insert(row, on_conflict=None)])
        self._hold(row.id, held, drops)

    async def _made(
        self, tenant: str, purpose: str, generation: int, now_ms: int
    ) -> tuple[DataKeyRow, _Held]:
        key_id, secret = self._entropy.token(ID_BYTES), self._entropy.token(SECRET_BYTES)
        row = DataKeyRow(key_id.hex(), tenant, purpose, generation, b"", "", now_ms)
        wrapped = await self._asked(self.kms, self.kms.wrap(secret, row.context))
        row = msgspec.structs.replace(row, wrapped=wrapped.text, wrapped_by=wrapped.by)
        return row, _Held(tenant, purpose, DataKey(key_id, secret, self._entropy))

    async def _find(self, key_id: str) -> _Held:
        if (held := self._in_memory(key_id)) is not None:
            return held
        drops = self._drops
        rows = await self._database.read(_BY_ID, (key_id,))
        if not rows:
            raise ValueError(f"sealed with the data key {key_id}, which is not there")
        row = rows[0]
        key = DataKey(bytes.fromhex(row.id), await self._unwrapped(row), self._entropy)
        held = _Held(row.tenant, row.purpose, key)
        self._hold(key_id, held, drops)
        return held

    def _hold(self, key_id: str, held: _Held, drops: int) -> None:
        now_s = self._clock.monotonic_s()
        with self._lock:
            if drops == self._drops:  # else the database may be one that never had it
                self._held.put(key_id, held, now_s, now_s + HELD_S)

    async def _unwrapped(self, row: DataKeyRow) -> bytes:
        scheme = row.wrapped_by.partition(":")[0]
        if (kms := self._unwraps.get(scheme)) is None:
            log.error(
                "data_key_without_kms", data_key=row.id, wrapped_by=row.wrapped_by,
                error=f"name what opens {scheme}: as [keyring] former_kms",
            )  # fmt: skip
            raise NoSuchKms("no key management service here opens the key of this")
        wrapped = Wrapped(row.wrapped, row.wrapped_by)
        return await self._asked(kms, kms.unwrap(wrapped, row.context))

    async def _asked(self, kms: Kms, question: Awaitable[T]) -> T:
        """Ask a KMS, unless it was away just now: then others would only wait for it too."""
        if self._clock.monotonic_s() < self._left_until.get(kms.scheme, 0.0):
            if asyncio.iscoroutine(question):
                question.close()
            raise Unavailable("the key management service is away", retry_after_s=1)
        try:
            return await question
        except Unavailable:
            self._left_until[kms.scheme] = self._clock.monotonic_s() + LEFT_ALONE_S
            raise


def _looked_at(task: asyncio.Task[_Held]) -> None:
    """Take note of how a fetch ended, also where everybody who waited for it has gone."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.debug("data_key_not_fetched", error=str(error))
