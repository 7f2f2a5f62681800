"""What commands do to a platform that they do not serve: its keyring, first key, epoch, place."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from mainspring.app import Instance, build, services_of
from mainspring.engines import adapter_of, open_database, opened
from mainspring.kernel.user_app import App
from mainspring.ports.database import Database, StartError
from mainspring.ports.keyring import Keyring
from mainspring.ports.opening import path_of
from mainspring.runtime import identity
from mainspring.runtime.move.mover import APPLICATION, Moved, MoveEnd, Mover, Watch
from mainspring.services.audit.api import AuditSettings
from mainspring.services.audit.checkpoints import require_unchanged, verifier_key
from mainspring.services.audit.export import export
from mainspring.services.audit.store import FORGET_ALL
from mainspring.services.users.admin import StoredSecret, machine_claims, new_key, recover_key
from mainspring.settings import PlatformSettings, Settings, database_url


async def prove(data_dir: Path, nonce: str, url: str) -> str:
    """Return what the platform over this directory says to the nonce. Raises StartError."""
    keyring: Keyring = opened("keyring", f"file:{data_dir / 'keyring.json'}")
    await keyring.open(create=False)
    return identity.prove(keyring, nonce, url)


async def rotate_keyring(settings: Settings) -> tuple[str, str]:
    """Add a key to the keyring; return its id and the audit log's next verifier key."""
    platform = await build(settings)
    await platform.keyring.open(create=False)
    key_id = await platform.keyring.rotate()
    origin = settings.of(AuditSettings).origin
    return key_id, str(verifier_key(platform.keyring, origin))


async def rotate_data_keys(settings: Settings, user_app: App | None) -> tuple[int, int]:
    """Make new data keys, and the jobs that seal anew what is stored; return how many of both.

    Raises StartError, Unavailable.
    """
    platform = await build(settings, user_app)
    async with _opened(platform):
        runtime, keys = platform.runtime, platform.data_keys
        await keys.connect()
        try:
            made = await keys.add_generation(runtime.clock.now_ms())
            return made, len(await runtime.resealing.begin(runtime.dispatcher))
        finally:
            await keys.disconnect()


async def remove_data_keys(settings: Settings, user_app: App | None) -> tuple[int, int]:
    """Take data keys out that nothing is under; return how many went and how many older ones stay.

    Raises StartError, Unavailable.
    """
    platform = await build(settings, user_app)
    async with _opened(platform):
        return await platform.runtime.resealing.remove_unused(platform.runtime.clock.now_ms())


async def replace_keyring(settings: Settings) -> Path | None:
    """Give a database a new keyring, whatever the old one sealed being lost.

    Returns where the keyring that was there is kept. Raises StartError.
    """
    platform = await build(settings)
    await platform.database.open()
    try:
        kept = await asyncio.to_thread(_put_aside, platform.data_dir / "keyring.json")
        await platform.keyring.open()
        await platform.runtime.migrate()
        runtime = platform.runtime
        await identity.accept_loss(
            platform.database, platform.keyring, runtime.clock, runtime.entropy
        )
    finally:
        await platform.database.close()
    return kept


async def note_restore(settings: Settings) -> tuple[int, str]:
    """Have a database begin a new epoch, since it was restored. Raises StartError.

    Another key signs the audit log from then on: those before it have signed for what was lost.
    Returns the epoch and the new verifier key.
    """
    platform = await build(settings)
    async with _opened(platform):
        database, keyring = platform.database, platform.keyring
        if not await database.read(identity.FIND_IDENTITY, ()):
            raise identity.never_started()
        # First, so that a kill in between leaves nothing but a key more.
        await keyring.rotate(for_new_log=True)
        clock, entropy = platform.runtime.clock, platform.runtime.entropy
        await identity.establish(database, keyring, clock, entropy)
        await database.commit([FORGET_ALL()])
        epoch = await identity.went_back(database)
    return epoch, str(verifier_key(keyring, settings.of(AuditSettings).origin))


async def export_log(settings: Settings, out: BinaryIO) -> str:
    """Write the audit export of a database that no platform serves; return the verifier key.

    Raises CheckpointRefused, StartError, Unavailable.
    """
    platform = await build(settings)
    origin = settings.of(AuditSettings).origin
    await platform.database.open()
    try:
        await platform.open_keyring()
        now_ms = platform.runtime.clock.now_ms()
        log = platform.runtime.event_log
        await export(platform.database, log, platform.keyring, out, origin=origin, now_ms=now_ms)
    finally:
        await platform.database.close()
    return str(verifier_key(platform.keyring, origin))


async def compare_log(settings: Settings) -> str:
    """Hold the log against what was signed. Raises CheckpointRefused, StartError, Unavailable."""
    platform = await build(settings)
    await platform.database.open()
    try:
        if not await platform.database.applied():
            return "nothing signed yet"
        await platform.open_keyring()
        log, keyring = platform.runtime.event_log, platform.keyring
        signed = await require_unchanged(log, keyring, settings.of(AuditSettings).origin)
    finally:
        await platform.database.close()
    return f"extends the {signed.size:,} events signed for" if signed else "nothing signed yet"


async def recover_admin_key(
    settings: Settings, ask: Callable[[StoredSecret, str], None] | None
) -> Path:
    """Make another key with every scope, and put it where the first one was; return the file.

    ``ask`` asks the platform that runs, with a token that says which key this machine wants: of no
    use to anybody else who gets hold of it. Without it the database is opened. Raises StartError.
    """
    platform = await build(settings)
    text = new_key(platform.runtime.entropy)
    secret = StoredSecret.of(text)
    if ask is None:
        async with _opened(platform):
            await recover_key(platform.runtime.dispatcher, secret)
    else:
        await platform.keyring.open(create=False)
        claims = machine_claims(secret, platform.runtime.clock.now_ms() // 1000)
        await asyncio.to_thread(ask, secret, platform.keyring.sign_token(claims))
    # Last: a key that nobody learned does no harm, a file without a key would.
    return await platform.replace_admin_key(text)


async def move(
    settings: Settings, user_app: App | None, to: str, watch: Watch, *, ahead: bool
) -> Moved | None:
    """Move the database to another engine; return what was done, None when it is only ahead.

    Raises StartError, Unavailable, and Differs when both do not hold the same in the end.
    """
    url = database_url(settings)
    source_shown, target_shown = shown(url), shown(to)
    if source_shown == target_shown:
        raise StartError(f"{target_shown} is where the platform is already")
    async with AsyncExitStack() as stack:
        adapter = adapter_of("database", url)
        if ahead and hasattr(adapter, "snapshot"):
            folder = stack.enter_context(
                TemporaryDirectory(prefix="move-", dir=settings.of(PlatformSettings).data_dir)
            )
            copy = Path(folder) / "snapshot.db"
            await asyncio.to_thread(adapter.snapshot, url, copy)
            url = f"sqlite:{copy}"
        source = await stack.enter_async_context(_database(url))
        target = await stack.enter_async_context(_database(to))
        services = services_of(user_app)
        mover = Mover(MoveEnd(source, source_shown), MoveEnd(target, target_shown), services)
        await mover.prepare(alone=not ahead)
        if ahead:
            await mover.copy_ahead(watch)
            return None
        platform = await build(settings, user_app, ports={Database: source})
        return await mover.move(watch, platform.runtime.sequencer.sequence)


async def stay(settings: Settings) -> None:
    """Let a database be used again that a cut move was about to leave. Raises StartError."""
    async with _database(database_url(settings)) as database:
        await identity.stay(database)


def shown(url: str) -> str:
    """Return what a database is called: where it is, without who may use it."""
    if url.startswith("sqlite:"):
        return f"sqlite:{path_of(url).resolve()}"
    parts = urlsplit(url)
    host = dict(parse_qsl(parts.query)).get("host") or parts.netloc.rpartition("@")[2]
    return f"postgresql://{host or 'localhost'}{parts.path}"


@asynccontextmanager
async def _database(url: str) -> AsyncIterator[Database]:
    """Open a database by itself; a server's sessions say that they are of a move."""
    if not url.startswith("sqlite:"):
        parts = urlsplit(url)
        named = [*parse_qsl(parts.query), ("application_name", APPLICATION)]
        url = urlunsplit(parts._replace(query=urlencode(named)))
    database = open_database(url)
    await database.open()
    try:
        yield database
    finally:
        await database.close()


@asynccontextmanager
async def _opened(platform: Instance) -> AsyncIterator[None]:
    """Open the database and its keyring, and bring the schema up to date. Raises StartError."""
    await platform.database.open()
    try:
        await platform.open_keyring()
        await platform.runtime.migrate()
        yield
    finally:
        await platform.database.close()


def _put_aside(file: Path) -> Path | None:
    if not file.exists():
        return None
    kept = next(
        p for n in count(1) if not (p := file.with_name(f"keyring.replaced-{n}.json")).exists()
    )
    file.rename(kept)
    return kept
