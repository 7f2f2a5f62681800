"""A database knows who it is: its id, the keyring it was written with, the schema it has.

Every start asks it before anything is written, and a process that runs asks it again whenever it
may have come to another (``Recheck``). With another keyring nobody's key or session would
hold, and personal fields could not be read; with older code, or without a service's app, rows
would be written that the schema no longer means.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Literal

import msgspec
import structlog

from mainspring.kernel.clock import Clock, Entropy
from mainspring.kernel.errors import Rerun, Unavailable
from mainspring.kernel.service import Service
from mainspring.kernel.table import Query, Statement, Table
from mainspring.ports.database import Database, StartError
from mainspring.ports.keyring import Keyring
from mainspring.runtime.migrate import folders, scripts

log = structlog.get_logger()

MIGRATION = "runtime/0005_identity"
_PURPOSE = "identity"
_PROOF_PURPOSE = "proof"
_ID_BYTES = 16
# One end of a move is not served: what it holds is not whole yet, or is not the newest any more.
Standing = Literal["live", "leaving", "left", "arriving"]
LIVE: Standing = "live"


class IdentityRow(msgspec.Struct, frozen=True):
    """``keyring`` is a fingerprint that rotation keeps, ``keys`` the id of every key ever used.

    ``epoch`` grows when the database was restored, or fell back: places in its log before that are
    not those after it. ``other_end`` is where it was moved to, or is being moved to or from.
    """

    one: int
    id: str
    epoch: int
    keyring: str
    keys: str
    created_ms: int
    standing: Standing = LIVE
    other_end: str = ""


IDENTITIES = Table("identity", IdentityRow, key=("one",))
FIND_IDENTITY = Query("runtime.identity", f"SELECT {IDENTITIES.columns} FROM identity", IDENTITIES)
_ONE_SEALED = Query(
    "runtime.one_sealed_key", "SELECT sealed FROM subject_keys WHERE sealed <> :none LIMIT 1", bytes
)
_ADD_KEYS = Statement(
    "runtime.identity_keys", "UPDATE identity SET keys = :keys WHERE one = 1 AND keys = :known"
)
_TAKE_KEYRING = Statement(
    "runtime.identity_keyring",
    "UPDATE identity SET keyring = :keyring, keys = :keys WHERE one = 1",
)
_NEXT_EPOCH = Statement("runtime.next_epoch", "UPDATE identity SET epoch = epoch + 1 WHERE one = 1")
_STAND = Statement(
    "runtime.identity_standing",
    "UPDATE identity SET standing = :standing, other_end = :other_end WHERE one = 1",
)
_TAKE_OVER = Statement(
    "runtime.identity_take_over",
    "UPDATE identity SET epoch = :epoch, keyring = :keyring, keys = :keys, standing = 'live', "
    "other_end = '' WHERE one = 1",
)
_LOSE_PERSONS = Statement("runtime.lose_persons", "UPDATE subject_keys SET sealed = :none")
_LOSE_DATA_KEYS = Statement(
    "runtime.lose_data_keys", "DELETE FROM data_keys WHERE wrapped_by LIKE 'keyring:%'"
)
_LOSE_ANSWERS = Statement("runtime.lose_answers", "DELETE FROM idempotency WHERE sealed")


class _Answering(msgspec.Struct, frozen=True):
    """Who answers: the identity, and which run of which server it is of."""

    id: str
    epoch: int
    keyring: str
    standing: Standing
    run: str


# Another run when the server was restarted or another took its place, and when the database, or the
# table of events in it, was made anew: each may know less than what answered before.
RUN_POSTGRES = (
    "pg_postmaster_start_time()::text || ' ' || 'events'::regclass::oid::text || ' ' || "
    "(SELECT oid FROM pg_database WHERE datname = current_database())::text"
)
_ANSWERING = Query(
    "runtime.answering",
    "SELECT id, epoch, keyring, standing, '' FROM identity",
    _Answering,
    postgres=f"SELECT id, epoch, keyring, standing, {RUN_POSTGRES} FROM identity",
)


class Recheck:
    """Holds whoever answers for the database by now against the one that was opened.

    A server that took over may lack commits, or a backup may have come back, and what this process
    has concluded from them is wrong: ``forget`` is called before anything is asked of it. Another
    database, or one that was said to be restored, is refused until the process is started again.
    """

    def __init__(self, forget: Callable[[], None]) -> None:
        self._forget = forget
        self._opened: _Answering | None = None

    async def start(self, database: Database) -> None:
        """Take who answers now for the one that was opened, and have it looked at from now on."""
        self._loop = asyncio.get_running_loop()
        (self._opened,) = await database.read(_ANSWERING, ())
        database.recheck(_ANSWERING, self.judge)

    def judge(self, found: list[_Answering]) -> None:
        """Look at who answers, in whatever thread. Raises Unavailable."""
        opened = self._opened
        assert opened is not None  # nobody is judged before
        if not found or found[0].id != opened.id:
            raise _refused("is not the one that was opened: check where [database] url leads")
        (now,) = found
        if now.keyring != opened.keyring:
            raise _refused("has been given another keyring")
        if now.epoch != opened.epoch:
            raise _refused("was restored since it was opened")
        if now.standing != LIVE:
            raise _refused("is being moved to another engine, or was moved")
        if now.run != opened.run:
            self._opened = now
            log.info("database_reached_anew", was=opened.run, now=now.run)
            if _is_running(self._loop):
                self._forget()
            else:
                self._loop.call_soon_threadsafe(self._forget)


def _refused(why: str) -> Unavailable:
    return Unavailable(
        f"the database that answers {why}; a process that is started again goes by what is there",
        retry_after_s=1,
    )


def _is_running(loop: asyncio.AbstractEventLoop) -> bool:
    return asyncio.get_running_loop() is loop


def check_schema(
    applied: Iterable[str], services: Iterable[Service], dialect: str, removed: Iterable[str] = ()
) -> None:
    """Hold what was applied to the database against what this code knows. Raises StartError.

    Services that are ``removed`` on purpose may have left their tables.
    """
    known: dict[str, set[str]] = {service.name: set() for service in services}
    for owner, folder in folders(services):
        known[owner] = {name for name, _ in scripts(folder, dialect)}
    strange: dict[str, None] = {}
    for migration in applied:
        owner, _, name = migration.partition("/")
        if owner not in known:
            strange[owner] = None
        elif name not in known[owner]:
            raise StartError(
                f"the database is newer than this code: {migration} was applied to it, which "
                "this code has no file of; run the code that applied it, or restore a backup from "
                "before"
            )
    if others := [owner for owner in strange if owner not in removed]:
        raise StartError(
            f"the database has tables of {', '.join(others)}, which this app has no service for: "
            "start it with its app (mainspring up APP), or choose another --data-dir or [database] "
            "url; for services that were taken out on purpose set [platform] removed_services"
        )


async def find(database: Database, applied: Iterable[str]) -> IdentityRow | None:
    """Return who the database says it is; None before its first start."""
    rows = await database.read(FIND_IDENTITY, ()) if MIGRATION in applied else []
    return rows[0] if rows else None


async def establish(database: Database, keyring: Keyring, clock: Clock, entropy: Entropy) -> bool:
    """Hold the open keyring against the database's, or make it that. Raises StartError.

    Returns whether the database is new. Of processes that start at once one gives the identity,
    and the others are held against it. Keys that were added since are noted before they are used.
    """
    ours = _fingerprint(keyring)
    rows = await database.read(FIND_IDENTITY, ())
    made = False
    if not rows:
        await _require_readable(database, keyring)
        name = entropy.token(_ID_BYTES).hex()
        row = IdentityRow(1, name, 1, ours, _joined(keyring.key_ids()), clock.now_ms())
        await database.commit([IDENTITIES.insert(row, on_conflict=None)])
        rows = await database.read(FIND_IDENTITY, ())
        made = rows[0].id == name
    require_live(rows[0])
    check_keyring(rows[0], keyring)
    known = rows[0].keys
    if (keys := _joined({*known.split(), *keyring.key_ids()})) != known:
        try:
            await database.commit([_ADD_KEYS(keys=keys, known=known).expect(1, Rerun)])
        except Rerun:  # another process of the same start was first
            return await establish(database, keyring, clock, entropy) or made
    return made


def require_live(row: IdentityRow) -> None:
    """Refuse to serve one end of a move. Raises StartError."""
    if row.standing == "left":
        raise StartError(
            f"this platform was moved to {row.other_end}: set [database] url to that, or bring "
            "what is there back here with mainspring move"
        )
    if row.standing == "leaving":
        raise StartError(
            f"this platform is being moved to {row.other_end}: finish it with the same mainspring "
            "move, or stay here with mainspring move --cancel"
        )
    if row.standing == "arriving":
        raise StartError(
            f"a move from {row.other_end} to this database was not finished: finish it with the "
            "same mainspring move, or choose another [database] url"
        )


async def stand(database: Database, standing: Standing, other_end: str) -> None:
    """Say what a database is from now on."""
    await database.commit([_STAND(standing=standing, other_end=other_end)])


async def stay(database: Database) -> None:
    """Let a database be live again that a move was about to leave. Raises StartError."""
    if not (rows := await database.read(FIND_IDENTITY, ())):
        raise never_started()
    if rows[0].standing in ("left", "arriving"):
        require_live(rows[0])
    await stand(database, LIVE, "")


async def settle(database: Database, row: IdentityRow) -> None:
    """Make a new database the one that another was until now: nothing more is known of it yet."""
    await database.commit([IDENTITIES.insert(row)])


async def take_over(database: Database, row: IdentityRow) -> None:
    """Let a database be the live one in the place of another, with all that is known of that."""
    await database.commit([_TAKE_OVER(epoch=row.epoch, keyring=row.keyring, keys=row.keys)])


def check_keyring(row: IdentityRow, keyring: Keyring) -> None:
    """Hold a keyring against the one the database was written with. Raises StartError."""
    if row.keyring != _fingerprint(keyring):
        raise StartError(
            "keyring.json is not the keyring of this database, which was written with another "
            f"(its keys: {row.keys.replace(' ', ', ')}): put that one back from a backup, or "
            "choose another --data-dir or [database] url; if it is lost for good, mainspring admin "
            "new-keyring says what that costs"
        )
    if missing := set(row.keys.split()) - set(keyring.key_ids()):
        raise StartError(
            f"keyring.json lacks the keys {', '.join(sorted(missing))}, which this database was "
            "written with after they were added: put the newest keyring.json back"
        )


def missing_keyring(row: IdentityRow | None) -> StartError:
    """Say that a database has data and its keyring is gone."""
    keys = f" with the keys {row.keys.replace(' ', ', ')}" if row else ""
    return StartError(
        f"keyring.json is missing, and the database was written with one{keys}: put it back from "
        "a backup, or choose another --data-dir or [database] url; if it is lost for good, "
        "mainspring admin new-keyring says what that costs"
    )


async def accept_loss(database: Database, keyring: Keyring, clock: Clock, entropy: Entropy) -> None:
    """Let the database go on with another keyring, knowingly: what the old one sealed is lost.

    In one commit: personal fields of events are erased for every person, sealed answers and the
    data keys that it wrapped are forgotten.
    """
    ours, keys = _fingerprint(keyring), _joined(keyring.key_ids())
    name = entropy.token(_ID_BYTES).hex()
    await database.commit(
        [
            IDENTITIES.insert(
                IdentityRow(1, name, 1, ours, keys, clock.now_ms()), on_conflict=None
            ),
            _TAKE_KEYRING(keyring=ours, keys=keys),
            _LOSE_PERSONS(none=b""),
            _LOSE_DATA_KEYS(),
            _LOSE_ANSWERS(),
        ]
    )


async def went_back(database: Database) -> int:
    """Say that the database was restored to an earlier state; return the epoch from now on.

    Positions in its log that were given out before are refused from then on. Raises StartError.
    """
    await database.commit([_NEXT_EPOCH()])
    if not (rows := await database.read(FIND_IDENTITY, ())):
        raise never_started()
    return rows[0].epoch


def never_started() -> StartError:
    """Say that there is nothing that could have gone back."""
    return StartError("the database was never started, so no position in its log was given out")


async def _require_readable(database: Database, keyring: Keyring) -> None:
    """Refuse a foreign keyring over data from before databases knew theirs."""
    for sealed in await database.read(_ONE_SEALED, (b"",)):
        try:
            keyring.unseal(sealed, purpose="personal")
        except ValueError:
            raise StartError(
                "keyring.json is not the keyring of this database: what is sealed in it cannot be "
                "read; put the right one back from a backup"
            ) from None


def prove(keyring: Keyring, nonce: str, url: str) -> str:
    """Show whoever has the same keyring, and asked at this address, that a platform answers.

    The nonce keeps an answer from being given again, the address from being fetched elsewhere.
    """
    return keyring.fingerprint(f"{nonce} {url}".encode(), purpose=_PROOF_PURPOSE).hex()


def _fingerprint(keyring: Keyring) -> str:
    return keyring.fingerprint(b"keyring", purpose=_PURPOSE).hex()


def _joined(keys: Iterable[str]) -> str:
    return " ".join(sorted(keys))
