"""AWS KMS's protocol: what is asked, what is asked again, and what a KMS that is away costs."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from mainspring.adapters.kms import aws
from mainspring.adapters.kms.aws import AwsKms
from mainspring.app import build, sections
from mainspring.cli.checks import Verdict
from mainspring.cli.sealed_check import check_kms, check_sealed
from mainspring.engines import open_database, opened
from mainspring.kernel.call import SYSTEM
from mainspring.kernel.errors import Unavailable
from mainspring.ports.database import StartError
from mainspring.ports.kms import Kms, Wrapped
from mainspring.runtime.data_keys import ALL_DATA_KEYS, KeyringSettings
from mainspring.runtime.tables import SEALED_SUBJECT_KEYS
from mainspring.settings import Flag, load
from mainspring.testing import Platform
from mainspring.testing.servers import LocalKms
from tests.deadline import DEADLINE_S

pytestmark = pytest.mark.xdist_group("kms")
KEY, CONTEXT = bytes(range(32)), {"tenant": "main", "purpose": "webhooks"}


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKTEST")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")


@pytest.fixture
async def kms(local_kms: LocalKms) -> AsyncIterator[AwsKms]:
    found = aws.open(local_kms.url(local_kms.new_key()))
    await found.open()
    yield found
    await found.close()


async def test_an_alias_leads_to_another_key_and_the_former_still_unwraps(
    local_kms: LocalKms,
) -> None:
    first, second = local_kms.new_key(), local_kms.new_key()
    local_kms.ask("CreateAlias", AliasName="alias/data", TargetKeyId=first)
    found = aws.open(local_kms.url("//alias/data"))
    await found.open()
    before = await found.wrap(KEY, CONTEXT)
    local_kms.ask("UpdateAlias", AliasName="alias/data", TargetKeyId=second)
    assert (await found.describe()).name == f"aws-kms:{second}"
    assert before.by == f"aws-kms:{first}"
    assert await found.unwrap(before, CONTEXT) == KEY
    assert (await found.wrap(KEY, CONTEXT)).by == f"aws-kms:{second}"
    with pytest.raises(ValueError, match="did not wrap this"):
        await found.unwrap(Wrapped(before.text, f"aws-kms:{second}"), CONTEXT)
    await found.close()


async def test_a_key_that_is_disabled_is_away_until_it_is_not(
    local_kms: LocalKms,
) -> None:
    arn = local_kms.new_key()
    found = aws.open(local_kms.url(arn))
    await found.open()
    wrapped = await found.wrap(KEY, CONTEXT)
    local_kms.ask("DisableKey", KeyId=arn)
    for asked in (found.wrap(KEY, CONTEXT), found.unwrap(wrapped, CONTEXT)):
        with pytest.raises(Unavailable):
            await asked
    assert found.away() == "DisabledException"
    assert "Disabled" in (await found.describe()).why
    told = await check_kms(lambda: aws.open(local_kms.url(arn)))
    assert (told.verdict, told.found) == (
        Verdict.FAIL,
        f"aws-kms:{arn}: the key is in the state Disabled",
    )
    local_kms.ask("EnableKey", KeyId=arn)
    told = await check_kms(lambda: aws.open(local_kms.url(arn)))
    assert (told.verdict, told.found) == (Verdict.OK, f"aws-kms:{arn} wraps data keys")
    assert await found.unwrap(wrapped, CONTEXT) == KEY
    assert found.away() == ""
    await found.close()


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("aws-kms:", "which key"),
        ("aws-kms:alias/x", "which region"),
        ("aws-kms:alias/x?region=r&regoin=s", "'regoin' is unknown"),
        ("aws-kms:alias/x?region=r&endpoint=http://10.0.0.1:80", "is for this machine only"),
        ("aws-kms:alias/x?region=r&endpoint=https://h/path", "is the URL of a server"),
    ],
)
def test_a_url_that_leads_nowhere_is_refused(url: str, why: str) -> None:
    with pytest.raises(StartError, match=why):
        aws.open(url)


def test_former_is_another() -> None:
    with pytest.raises(ValueError, match="former_kms is not needed"):
        KeyringSettings("aws-kms:a?region=r", "aws-kms:b?region=r")


async def test_a_key_that_cannot_wrap_stops_the_start(local_kms: LocalKms) -> None:
    with pytest.raises(StartError, match="there is no key 'alias/none' in eu-west-1: NotFound"):
        await aws.open(local_kms.url("alias/none")).open()
    made = local_kms.ask("CreateKey", KeyUsage="SIGN_VERIFY", CustomerMasterKeySpec="ECC_NIST_P256")
    with pytest.raises(StartError, match="is for SIGN_VERIFY"):
        await aws.open(local_kms.url(made["KeyMetadata"]["KeyId"])).open()


GOOD = 200, {"CiphertextBlob": "eA==", "KeyId": "arn:x"}
DENIED = 400, {"__type": "com.amazonaws.kms#AccessDeniedException"}
THROTTLED = 400, {"__type": "ThrottlingException"}


async def test_what_may_help_is_asked_once_more_and_signed_each_time() -> None:
    asked: list[web.Request] = []
    answers: list[tuple[int, object]] = []

    async def answer(request: web.Request) -> web.Response:
        if request.headers["X-Amz-Target"].endswith(".DescribeKey"):
            return web.json_response({"KeyMetadata": {"Arn": "arn:x"}})
        asked.append(request)
        status, said = answers.pop(0)
        return web.json_response(said, status=status)

    app = web.Application()
    app.router.add_post("/", answer)
    cases: list[tuple[str, list[tuple[int, object]]]] = [
        ("", [GOOD]),
        ("", [(500, {}), GOOD]),
        ("", [THROTTLED, GOOD]),
        ("it answers 503", [THROTTLED, (503, {})]),
        ("AccessDeniedException", [DENIED]),
        ("its answer is none of a KMS", [(200, ["no", "KMS"])]),
    ]
    async with TestServer(app) as server:
        found = aws.open(f"aws-kms:x?region=eu-west-1&endpoint=http://127.0.0.1:{server.port}")
        await found.open()
        for away, said in cases:
            answers[:], asked[:] = said, []
            if away:
                with pytest.raises(Unavailable):
                    await found.wrap(KEY, CONTEXT)
            else:
                assert await found.wrap(KEY, CONTEXT) == Wrapped(b"x", "aws-kms:arn:x")
            assert found.away() == away
            assert len(asked) == len(said)
            for request in asked:
                signed = request.headers["Authorization"]
                assert signed.startswith("AWS4-HMAC-SHA256 Credential=AKTEST/")
                assert "/eu-west-1/kms/aws4_request" in signed
                assert "host;x-amz-date;x-amz-target" in signed
        await found.close()


async def test_a_kms_that_is_away_costs_no_more_than_an_attempt(
    own_local_kms: LocalKms, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aws, "TIMEOUT_S", 0.3)
    found = aws.open(own_local_kms.url(own_local_kms.new_key()))
    await found.open()
    wrapped = await found.wrap(KEY, CONTEXT)
    own_local_kms.freeze()
    async with asyncio.timeout(DEADLINE_S):
        with pytest.raises(Unavailable):
            await found.unwrap(wrapped, CONTEXT)
    assert found.away() == "it does not answer in time"
    own_local_kms.thaw()
    assert await found.unwrap(wrapped, CONTEXT) == KEY
    own_local_kms.kill()
    with pytest.raises(Unavailable):
        await found.unwrap(wrapped, CONTEXT)
    assert found.away().startswith("not reached: ")
    await found.close()
    told = await check_kms(lambda: aws.open(own_local_kms.url("alias/x")))
    assert told.verdict == Verdict.WARN
    assert told.found.startswith("cannot be asked: not reached")
    again = aws.open(own_local_kms.url(wrapped.by.partition(":")[2]))
    await again.open()
    assert again.away(), "a KMS that is away is no reason not to start"
    own_local_kms.start()
    assert await again.unwrap(wrapped, CONTEXT) == KEY
    assert again.away() == ""
    await again.close()


async def test_a_platform_goes_on_without_its_kms_until_what_it_holds_has_run_out(
    own_local_kms: LocalKms,
) -> None:
    """What needs no key goes on; what does is 503 after five minutes, and works when it is back."""
    found: Kms = aws.open(own_local_kms.url(own_local_kms.new_key()))
    new = {"url": "https://example.com/", "types": ["records.*"]}
    async with Platform(ports={Kms: found}) as platform:
        (await platform.admin.post("/v1/webhooks", new)).expect(201)
        own_local_kms.kill()
        (await platform.admin.post("/v1/webhooks", new)).expect(201)
        await platform.pass_time(minutes=6)
        refused = (await platform.admin.post("/v1/webhooks", new)).expect(503)
        assert "key management service" in refused["detail"]
        ready = await platform.admin.get("/readyz")
        assert ready.status == 200
        assert "kms: not reached" in ready.text
        listed = (await platform.admin.get("/v1/webhooks")).expect(200)
        assert len(listed["items"]) == 2
        own_local_kms.start()
        await platform.pass_time(seconds=2)
        (await platform.admin.post("/v1/webhooks", new)).expect(201)
        assert "kms" not in (await platform.admin.get("/readyz")).text


async def test_data_keys_come_to_a_kms_and_back(local_kms: LocalKms, tmp_path: Path) -> None:
    """A start wraps them anew; without the KMS nothing opens them, and ``former_kms`` does."""
    arn = local_kms.new_key()
    database = f"sqlite:{tmp_path / 'shop.db'}"

    async def wrapped(**kms: str) -> tuple[str, int, str]:
        """By what they are after a start with these settings, what opens them, and doctor."""
        flags = [
            Flag("data", "platform.data_dir", str(tmp_path)),
            Flag("url", "database.url", database),
            *(Flag(name, f"keyring.{name}", value) for name, value in kms.items()),
        ]
        platform = await build(load(sections(None), flags=flags))
        await platform.open()
        try:
            runtime, keys = platform.runtime, platform.data_keys
            call = runtime.dispatcher.call(SYSTEM, request_id="test")
            try:
                await keys.seal(call, SEALED_SUBJECT_KEYS, b"key", "main", "ann")
            except Unavailable as error:
                opens = error.status
            else:
                opens = 200
            await runtime.resealing.begin(runtime.dispatcher)
            await runtime.prepare()
            while (await runtime.run_due()).attempts:
                pass
            (row,) = await platform.database.read(ALL_DATA_KEYS, ())
        finally:
            await platform.close()
        named = [url.partition(":")[0] for url in kms.values()]
        keyring = opened("keyring", f"file:{tmp_path / 'keyring.json'}")
        check = await check_sealed(open_database(database), keyring, named)
        return row.wrapped_by.partition(":")[0], opens, check.verdict

    assert await wrapped() == ("keyring", 200, "ok")
    assert await wrapped(kms=local_kms.url(arn)) == ("aws-kms", 200, "ok")
    assert await wrapped() == ("aws-kms", 503, "fail")
    assert await wrapped(former_kms=local_kms.url(arn)) == ("keyring", 200, "ok")
    assert await wrapped() == ("keyring", 200, "ok")
