"""What is stored sealed is bound to its row, and follows data keys to newer ones."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from mainspring import App, Service
from mainspring.app import Instance
from mainspring.kernel.call import SYSTEM
from mainspring.kernel.table import Query, Statement
from mainspring.ports.keyring import Keyring
from mainspring.runtime import resealing
from mainspring.runtime.data_key import key_id_of
from mainspring.runtime.data_keys import ALL_DATA_KEYS
from mainspring.runtime.resealing import ALL_RESEALED
from mainspring.runtime.tables import SEALED_SUBJECT_KEYS
from mainspring.services.users import store as users
from mainspring.services.webhooks import store as webhooks
from mainspring.testing import Platform

SECRETS = Query(
    "test.secrets", "SELECT id, secret FROM webhooks_endpoints ORDER BY id", tuple, long=(True,) * 2
)
OLD = Query(
    "test.old", "SELECT id, old_secret FROM webhooks_endpoints WHERE old_secret IS NOT NULL",
    tuple, long=(True, True),
)  # fmt: skip
PUT = Statement("test.put", "UPDATE webhooks_endpoints SET secret = :secret WHERE id = :id")
KEYS = Query("test.keys", "SELECT person, sealed FROM subject_keys", tuple, long=(True, True))
COLUMNS = {
    "subject_keys.sealed", "users_signing_keys.sealed", "users_totp.secret",
    "webhooks_endpoints.old_secret", "webhooks_endpoints.secret",
}  # fmt: skip


@pytest.fixture
async def platform(
    platform_server: str | None, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Platform]:
    monkeypatch.setattr(resealing, "PAGE_ROWS", 2)
    async with Platform(database=platform_server) as found:
        for number in range(3):
            url = f"https://example.com/{number}"
            (await found.admin.post("/v1/webhooks", {"url": url, "types": ["records.*"]})).expect(
                201
            )
        await found.as_user("ann@example.com")
        await found.drain()
        yield found


async def opened(platform: Platform, id: str, sealed: bytes) -> bytes:
    return await platform.app.data_keys.open_of("main", webhooks.SECRET, sealed, id)


async def plain(platform: Platform) -> dict[str, bytes]:
    """Every endpoint's secret, opened."""
    return {id: await opened(platform, id, sealed) for id, sealed in await platform.rows(SECRETS)}


async def sealed_by(app: Instance, id: str, plain: bytes) -> bytes:
    call = app.runtime.dispatcher.call(SYSTEM, request_id="test")
    return await app.data_keys.seal(call, webhooks.SECRET, plain, id)


async def rotate(platform: Platform) -> None:
    """Make new data keys; what is sealed under others is behind from here on."""
    assert await platform.app.data_keys.add_generation(platform.clock.now_ms()) >= 2


async def newest(platform: Platform) -> set[str]:
    rows = await platform.rows(ALL_DATA_KEYS)
    last = max(row.generation for row in rows)
    return {row.id for row in rows if row.generation == last}


async def begin(platform: Platform) -> list[str]:
    runtime = platform.app.runtime
    return await runtime.resealing.begin(runtime.dispatcher)


async def test_a_value_in_another_row_does_not_open(platform: Platform) -> None:
    (one, first), (two, _), *_ = await platform.rows(SECRETS)
    await platform.app.database.commit([PUT(secret=first, id=two)])
    assert await opened(platform, one, first)
    with pytest.raises(ValueError, match="or there"):
        await opened(platform, two, first)
    ((person, key),) = await platform.rows(KEYS)
    keys, column = platform.app.data_keys, SEALED_SUBJECT_KEYS
    assert len(await keys.open_of("main", column, key, "main", person)) == 32
    with pytest.raises(ValueError, match="or there"):
        await keys.open_of("main", column, key, "main", "user_x")
    with pytest.raises(ValueError, match="not sealed for personal of this tenant"):
        await keys.open_of("main", column, first, "main", person)
    with pytest.raises(ValueError, match="of this tenant"):
        await keys.open_of("other", column, key, "main", person)


async def test_all_that_is_sealed_follows_a_rotation(platform: Platform) -> None:
    """Every secret opens before, between any two pages, and after; also one from before 0.2."""
    keyring = platform.use(Keyring)
    (first, _), (second, _), *_ = await platform.rows(SECRETS)
    former = (await plain(platform))[second]
    (await platform.admin.post(f"/v1/webhooks/{second}:rotate_secret")).expect(200)
    before = await plain(platform)
    unbound = keyring.seal(before[first], purpose="webhooks")
    await platform.app.database.commit([PUT(secret=unbound, id=first)])
    assert set(await begin(platform)) == COLUMNS
    await rotate(platform)
    assert set(await begin(platform)) == COLUMNS
    pages = 0
    while not await platform.idle():
        await platform.app.runtime.run_due()
        pages += 1
        assert await plain(platform) == before
    assert pages > 1
    ((_, old),) = await platform.rows(OLD)
    assert key_id_of(old) in await newest(platform)
    assert await opened(platform, second, old) == former, "both sign for a while"
    stored = [*await platform.rows(SECRETS), *await platform.rows(KEYS)]
    assert len(stored) > 3
    assert {key_id_of(sealed) for _, sealed in stored} <= await newest(platform)
    noted = {row.name: (row.key_id, row.passes) for row in await platform.rows(ALL_RESEALED)}
    assert set(noted) == COLUMNS
    assert noted["webhooks_endpoints.secret"] == ("webhooks 2", 1)
    assert await begin(platform) == [], "it is known to be done"


async def test_what_a_process_seals_with_an_older_key_meanwhile_is_found_a_day_later(
    platform: Platform,
) -> None:
    (first, _), *_ = await platform.rows(SECRETS)
    running = await platform.another_process()
    assert await sealed_by(running, first, b"")
    await rotate(platform)
    await begin(platform)
    await platform.drain()
    late = await sealed_by(running, first, b"late")
    assert key_id_of(late) not in await newest(platform)
    await platform.app.database.commit([PUT(secret=late, id=first)])
    await platform.pass_time(hours=25)
    ((_, sealed), *_) = await platform.rows(SECRETS)
    assert key_id_of(sealed) in await newest(platform)
    assert await opened(platform, first, sealed) == b"late"
    assert {row.passes for row in await platform.rows(ALL_RESEALED)} == {resealing.PASSES}


async def test_a_data_key_goes_when_nothing_is_under_it(platform: Platform) -> None:
    again = platform.app.runtime.resealing

    async def removed() -> tuple[int, int]:
        return await again.remove_unused(platform.clock.now_ms())

    (first, under_old), *_ = await platform.rows(SECRETS)
    assert await removed() == (0, 0), "the newest is none to take"
    await rotate(platform)
    await begin(platform)
    await platform.drain()
    assert await removed() == (0, 2), "others may seal with them yet"
    await platform.pass_time(hours=25)
    ((_, fresh), *_) = await platform.rows(SECRETS)
    await platform.app.database.commit([PUT(secret=under_old, id=first)])
    assert await removed() == (1, 1), "a value is under one"
    assert await opened(platform, first, under_old)
    await platform.app.database.commit([PUT(secret=fresh, id=first)])
    assert await removed() == (1, 0)
    platform.app.data_keys.forget_all()
    assert len(await plain(platform)) == 3
    assert {row.id for row in await platform.rows(ALL_DATA_KEYS)} == await newest(platform)


async def test_what_changes_meanwhile_is_left_as_it_is(platform: Platform) -> None:
    """A secret that is rotated between the page's read and its commit, and an erased person's."""
    runtime = platform.app.runtime
    await rotate(platform)
    call = runtime.dispatcher.call(SYSTEM, request_id="test")
    await runtime.resealing.reseal(call, "webhooks_endpoints.secret")
    (first, _), *_ = await platform.rows(SECRETS)
    fresh = await sealed_by(platform.app, first, b"fresh")
    await platform.app.database.commit([PUT(secret=fresh, id=first)])
    await runtime.dispatcher.commit(call)
    assert dict(await platform.rows(SECRETS))[first] == fresh

    ((person, _), *_) = await platform.rows(KEYS)
    call = runtime.dispatcher.call(SYSTEM, request_id="test")
    await runtime.resealing.reseal(call, "subject_keys.sealed")
    (await platform.admin.delete(f"/v1/users/{person}?erase=true")).expect(204)
    await runtime.dispatcher.commit(call)
    assert dict(await platform.rows(KEYS))[person] == b"", "nobody comes back"


async def test_another_root_key_wraps_data_keys_anew_and_changes_no_value(
    platform: Platform,
) -> None:
    keyring, before = platform.use(Keyring), await platform.rows(SECRETS)
    await begin(platform)
    await platform.drain()
    assert await platform.rows(SECRETS) == before
    data_keys = await platform.rows(ALL_DATA_KEYS)
    root = await keyring.rotate()
    assert await begin(platform) == []
    await platform.drain()
    after = await platform.rows(ALL_DATA_KEYS)
    assert {row.wrapped_by for row in data_keys} != {row.wrapped_by for row in after}
    assert {row.wrapped_by for row in after} == {f"keyring:{root}"}
    assert [row.id for row in data_keys] == [row.id for row in after]
    platform.app.data_keys.forget_all()
    assert len(await plain(platform)) == 3
    assert await platform.rows(SECRETS) == before


async def test_what_no_key_opens_stops_nothing(platform: Platform) -> None:
    (first, _), (second, kept), *_ = await platform.rows(SECRETS)
    await rotate(platform)
    await platform.app.database.commit([PUT(secret=kept, id=first)])
    await begin(platform)
    await platform.drain()
    after: dict[str, Any] = dict(await platform.rows(SECRETS))
    assert after[first] == kept
    assert key_id_of(after[second]) in await newest(platform)


async def test_a_new_platform_has_nothing_to_do() -> None:
    async with Platform(App("new", services=[Service("own", doc="Ours.")])) as platform:
        runtime = platform.app.runtime
        assert set(await runtime.resealing.begin(runtime.dispatcher, new=True)) == COLUMNS
        assert await begin(platform) == []
        assert await platform.jobs() == []
    assert users.TOTP_SECRET.name in COLUMNS
