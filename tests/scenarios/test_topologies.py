"""What somebody does with a platform of several processes of the operating system."""

import asyncio
import re
from pathlib import Path

import pytest

from mainspring.adapters.mail.sandbox import SandboxMail
from mainspring.ports.mail import MailMessage
from tests.cli.site import Site, site
from tests.deadline import DEADLINE_S
from tests.services.webhooks.receiver import Receiver

EMAIL, PASSWORD = "ann@example.com", "a violet in the snow"


async def mailed(folder: Path) -> MailMessage:
    """Wait until a mail was put where the processes of a folder put them."""
    sandbox = SandboxMail(folder / "mail")
    async with asyncio.timeout(DEADLINE_S):
        while not (sent := await sandbox.sent()):
            pass
    return sent[0]


async def asked(serving: Site, method: str, path: str, body: object, status: int) -> object:
    """Ask as nobody in particular."""
    answered, said = await serving.ask(method, path, body)
    assert answered == status, said
    return said


@pytest.mark.xdist_group("processes")
async def test_from_sign_up_to_erasure_where_one_process_serves_and_others_work(
    postgres_url: str, tmp_path: Path
) -> None:
    receiver = Receiver()
    await receiver.start()
    settings = {
        "database__url": postgres_url,
        "platform__data_dir": str(tmp_path / "data"),
        "http_client__allow_private_addresses": "true",
    }
    with (tmp_path / "log").open("wb") as log:
        async with site(tmp_path, log, platform__role="serve", **settings) as serving:
            hook = {"url": receiver.url(), "types": ["users.user.created", "users.user.erased"]}
            await asked(serving, "POST", "/v1/webhooks", hook, 201)
            account = {"email": EMAIL, "password": PASSWORD}
            async with site(tmp_path, log, platform__role="work", **settings) as working:
                await asked(serving, "POST", "/v1/users", account, 201)
                assert (await receiver.next()).event["type"] == "users.user.created"
                mail = await mailed(tmp_path / "data")
                assert mail.to == EMAIL
                token = re.search(r"^[A-Za-z0-9_-]{43}$", mail.text, re.MULTILINE)
                assert token is not None, mail.text
                proof = {"token": token[0]}
                await asked(serving, "POST", "/v1/users:verify_email", proof, 204)
                working.process.kill()  # with whatever it was at
                await working.process.wait()
            _, tokens = await serving.ask("POST", "/v1/sessions", account)
            assert tokens["user"]["email_verified"]
            serving.http.headers["Authorization"] = f"Bearer {tokens['access_token']}"
            await asked(serving, "DELETE", "/v1/users/me?erase=true", None, 204)
            async with site(tmp_path, log, platform__role="work", **settings) as working:
                # The erasure was left to whoever works next; the mail goes with the person.
                assert (await receiver.next()).event["type"] == "users.user.erased"
                async with asyncio.timeout(DEADLINE_S):
                    while await SandboxMail(tmp_path / "data" / "mail").sent():
                        pass
                assert await working.end() == 0
            assert (await serving.ask("POST", "/v1/sessions", account))[0] == 401
            assert await serving.end() == 0
    await receiver.stop()
