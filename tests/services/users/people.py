"""What tests of users do over and over: sign up, log in, call as somebody, read the mail."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from mainspring import PageQuery
from mainspring.adapters.mail.sandbox import SandboxMail
from mainspring.kernel.authority import Authority
from mainspring.kernel.call import ANONYMOUS, SYSTEM, Caller, Reader
from mainspring.kernel.table import Query, Rows, Statement
from mainspring.ports.keyring import Keyring
from mainspring.ports.mail import MailMessage
from mainspring.runtime.invoke.dispatcher import Outcome
from mainspring.services.users import service
from mainspring.services.users.api.structs import EmailProof, Login, NewUser, Removal, Tokens, User
from mainspring.services.users.authenticate import UserAuthenticator
from mainspring.services.users.passwords import Passwords
from mainspring.testing import Platform

EMAIL = "ann@example.com"
PASSWORD = "correct horse battery"

WAITING = Query("test.waiting", "SELECT id FROM jobs WHERE state = 'ready' ORDER BY id", str)
JOB_NAME = Query("test.job_name", "SELECT name FROM jobs WHERE id = :id", str)
JOB_ARGS = Query("test.job_args", "SELECT args FROM jobs WHERE id = :id", str)
ALL_JOB_ARGS = Query("test.all_job_args", "SELECT args FROM jobs", str)
FINISH = Statement("test.finish", "DELETE FROM jobs WHERE id = :id")
MOVE_SECRET = Statement(
    "test.move_secret", "UPDATE users_totp SET secret = :secret WHERE user_id = :id"
)
KEYS = Query(  # but the platform's first
    "test.keys",
    "SELECT COUNT(*) FROM users_api_keys WHERE id NOT IN (SELECT key_id FROM users_first_key)",
    int,
)
EVENT_TYPES = Query("test.event_types", "SELECT type FROM events ORDER BY id", str)
EVENT_BODIES = Query("test.event_bodies", "SELECT body FROM events ORDER BY id", str)


class Mailbox(SandboxMail):
    """The sandbox, which says when something arrives."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.arrived: asyncio.Queue[MailMessage] = asyncio.Queue()

    async def send(self, message: MailMessage) -> None:
        await super().send(message)
        self.arrived.put_nowait(message)


class CountingPasswords(Passwords):
    """The real pool, which counts what it is asked to do."""

    hashed = 0
    verified = 0

    async def verify(
        self, hashed: str | None, password: str, *, share: str, decoy: str | None = None
    ) -> bool:
        self.verified += 1
        return await super().verify(hashed, password, share=share, decoy=decoy)

    async def hash(self, password: str, *, share: str) -> str:
        self.hashed += 1
        return await super().hash(password, share=share)


class Interrupted:
    """A reader after one of whose reads something else happens first, once."""

    def __init__(self, reader: Reader, name: str, meanwhile: Callable[[], Awaitable[None]]) -> None:
        self._reader = reader
        self._name = name
        self._meanwhile = meanwhile
        self._happened = False

    async def read(self, query: Query[Any], values: tuple[Any, ...]) -> list[Any]:
        rows = await self._reader.read(query, values)
        await self._interrupt(query)
        return rows

    async def page(self, query: Query[Any], values: tuple[Any, ...], bytes_max: int) -> Rows[Any]:
        rows = await self._reader.page(query, values, bytes_max)
        await self._interrupt(query)
        return rows

    async def _interrupt(self, query: Query[Any]) -> None:
        if query.sql.name == self._name and not self._happened:
            self._happened = True
            await self._meanwhile()


class People:
    """The users service as its callers see it, without HTTP."""

    def __init__(
        self,
        platform: Platform,
        mail: Mailbox,
    ) -> None:
        self.platform = platform
        self.runtime = platform.app.runtime
        self.clock = platform.clock
        self.mail = mail
        self.authenticator: UserAuthenticator = platform.use(Authority)
        self.sealer = platform.app.sealer
        self.asked = 0
        self._began = 0

    async def begin(self) -> None:
        """Count events from here: starting a platform makes its first key."""
        self._began = len(await self.all(EVENT_TYPES))

    async def ask(
        self, name: str, /, *, caller: Caller = ANONYMOUS, if_match: str | None = None, **args: Any
    ) -> Outcome:
        """Run an operation as the gateway would after letting the caller pass."""
        operation = service.operations[f"users.{name}"]
        assert operation.scope is None or caller.allows(operation.scope), "the gateway refuses"
        if operation.query_param and "query" not in args:
            args["query"] = operation.query()
        self.asked += 1
        call = self.runtime.dispatcher.call(
            caller, request_id=f"req_{self.asked}", if_match=if_match
        )
        return await self.runtime.dispatcher.run(operation, call, args)

    async def sign_up(self, email: str = EMAIL, password: str = PASSWORD, **more: Any) -> User:
        outcome = await self.ask("create_user", new=NewUser(email=email, password=password, **more))
        user: User = outcome.value
        return user

    async def administrator(self, email: str = "root@example.com", *roles: str) -> User:
        """Make a user with these roles (``admin``) as the system."""
        new = NewUser(email=email, password=PASSWORD, roles=list(roles or ("admin",)))
        user: User = (await self.ask("create_user", caller=SYSTEM, new=new)).value
        return user

    async def log_in(self, email: str = EMAIL, password: str = PASSWORD) -> Tokens:
        login = Login(email=email, password=password)
        tokens: Tokens = (await self.ask("create_session", login=login)).value
        return tokens

    async def caller(self, credential: str | Tokens) -> Caller:
        """Identify a credential as the gateway would. Raises Unauthenticated."""
        text = credential if isinstance(credential, str) else credential.access_token
        return (await self.authenticator.authenticate(text, self.clock.now_ms())).caller

    async def person(self, email: str = EMAIL, **more: Any) -> Caller:
        """Sign up, log in, and return the caller that makes."""
        await self.sign_up(email, **more)
        return await self.caller(await self.log_in(email))

    async def work(self) -> list[str]:
        """Run the jobs that wait, and those these make; return their names."""
        done = []
        while waiting := await self.all(WAITING):
            for job_id in waiting:
                name = (await self.all(JOB_NAME, id=job_id))[0]
                job = service.jobs[name]
                args = job.decode((await self.all(JOB_ARGS, id=job_id))[0])
                call = self.runtime.dispatcher.call(SYSTEM, request_id=job_id)
                await job(call, **args)
                call.write(FINISH(id=job_id))
                await self.runtime.dispatcher.commit(call)
                done.append(name.removeprefix("users."))
        return done

    async def mailed_token(self) -> str:
        """Run the jobs and return the token of the newest mail."""
        await self.work()
        return token_in((await self.mail.sent())[-1])

    async def verify(self) -> None:
        """Prove the address to which the newest mail went."""
        await self.ask("verify_email", given=EmailProof(token=await self.mailed_token()))

    async def bodies(self, type: str) -> list[str]:
        """Return the bodies of the events of one type, with what they seal shown."""
        found = [await self.sealer.reveal(body) for body in await self.all(EVENT_BODIES)]
        return [body for body in found if msgspec.json.decode(body)["type"] == type]

    async def all(self, query: Query[Any], **params: Any) -> list[Any]:
        return await self.runtime.database.read(query, query.sql.bind(params))

    async def events(self) -> list[str]:
        """Types of the events since the platform started."""
        return (await self.all(EVENT_TYPES))[self._began :]

    async def move_secret(self, secret: bytes, user_id: str) -> None:
        """Write somebody's sealed secret into the row of another, as who writes the database."""
        await self.run(MOVE_SECRET(secret=secret, id=user_id))

    def claims(self, tokens: Tokens) -> dict[str, Any]:
        """Return what an access token says."""
        keyring = self.platform.use(Keyring)
        return keyring.verify_token(tokens.access_token, now_s=self.clock.now_ms() / 1000)

    async def run(self, statement: Any) -> None:
        await self.runtime.database.commit([statement])


def token_in(message: MailMessage) -> str:
    """Find the token in a mail's text."""
    found = re.search(r"^[A-Za-z0-9_-]{43}$", message.text, re.MULTILINE)
    assert found is not None, message.text
    return found[0]


def page(limit: int = 50, cursor: str | None = None) -> PageQuery:
    return PageQuery(limit=limit, cursor=cursor)


def data_of(body: str) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(body)["data"]
    return found


ERASE = Removal(erase=True)
KEEP = Removal()
