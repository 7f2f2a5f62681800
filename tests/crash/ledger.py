"""The app that the crash suite hurts: accounts, deposits, consumers and jobs, each countable.

What a job does outside, it does to the file ``LEDGER_BEGUN``: a line for each time it was begun.
With ``LEDGER_VERSION=next`` it is the version after this one, which knows more jobs and arguments.
"""

import asyncio
import os
import signal
import threading
from pathlib import Path

import msgspec

from mainspring import (
    App,
    Call,
    Conflict,
    Envelope,
    Input,
    Query,
    RetryPolicy,
    Service,
    Table,
)


class Account(msgspec.Struct, frozen=True):
    id: str
    name: str
    balance: int
    version: int = 1


class Seen(msgspec.Struct, frozen=True):
    event_id: str
    type: str


class Stamp(msgspec.Struct, frozen=True):
    account: str


class Done(msgspec.Struct, frozen=True):
    task: str


BEGUN = os.environ.get("LEDGER_BEGUN", os.devnull)
NEXT = os.environ.get("LEDGER_VERSION") == "next"
ACCOUNTS = Table("ledger_accounts", Account, key=("id",))
SEEN = Table("ledger_seen", Seen, key=("event_id",))
STAMPS = Table("ledger_stamps", Stamp, key=("account",))
DONE = Table("ledger_done", Done, key=("task",))
BY_ID = Query(
    "ledger.by_id", f"SELECT {ACCOUNTS.columns} FROM ledger_accounts WHERE id = :id", ACCOUNTS
)
SEEN_AFTER = Query(
    "ledger.seen_after",
    "SELECT event_id FROM ledger_seen WHERE event_id > :after ORDER BY event_id LIMIT 500",
    str,
)
STAMPS_AFTER = Query(
    "ledger.stamps_after",
    "SELECT account FROM ledger_stamps WHERE account > :after ORDER BY account LIMIT 500",
    str,
)
DONE_AFTER = Query(
    "ledger.done_after",
    "SELECT task FROM ledger_done WHERE task > :after ORDER BY task LIMIT 500",
    str,
)

ledger = Service(
    "ledger",
    doc="Accounts and deposits.",
    migrations=Path(__file__).parent / "ledger_migrations",
)


class NewAccount(Input):
    name: str


class Deposit(Input):
    amount: int


class Dish(Input):
    name: str
    poisoned: bool = False


class After(Input):
    after: str = ""


@ledger.event("ledger.account.opened")
class AccountOpened(msgspec.Struct, frozen=True):
    id: str
    name: str


@ledger.event("ledger.account.credited")
class AccountCredited(msgspec.Struct, frozen=True):
    id: str
    amount: int


@ledger.event("ledger.dish.served", subject="name")
class DishServed(msgspec.Struct, frozen=True):
    name: str
    poisoned: bool


@ledger.operation("POST /v1/ledger/accounts", scope="ledger:write", status=201, raises=(Conflict,))
async def open_account(call: Call, new: NewAccount) -> Account:
    """Open an account."""
    account = Account(call.new_id("account"), new.name, 0)
    call.write(ACCOUNTS.insert(account))
    call.emit(AccountOpened(account.id, account.name))
    call.enqueue(stamp.configure(unique_key=f"stamp {account.id}"), account=account.id)
    return account


@ledger.operation("POST /v1/ledger/accounts/{id}:deposit", scope="ledger:write")
async def deposit(call: Call, id: str, money: Deposit) -> Account:
    """Add to an account's balance."""
    account = await call.one(BY_ID, id=id)
    call.write(ACCOUNTS.update(account, balance=account.balance + money.amount))
    call.emit(AccountCredited(id, money.amount))
    return msgspec.structs.replace(account, balance=account.balance + money.amount)


@ledger.operation("GET /v1/ledger/accounts/{id}", scope="ledger:read")
async def get_account(call: Call, id: str) -> Account:
    """Show an account."""
    return await call.one(BY_ID, id=id)


@ledger.operation("GET /v1/ledger/seen", scope="ledger:read")
async def list_seen(call: Call, query: After) -> list[str]:
    """List the ids of events the consumer has taken."""
    return await call.all(SEEN_AFTER, after=query.after)


@ledger.operation("GET /v1/ledger/stamps", scope="ledger:read")
async def list_stamps(call: Call, query: After) -> list[str]:
    """List the accounts whose job has run."""
    return await call.all(STAMPS_AFTER, after=query.after)


@ledger.operation("GET /v1/ledger/done", scope="ledger:read")
async def list_done(call: Call, query: After) -> list[str]:
    """List the tasks and the dishes that are done with."""
    return await call.all(DONE_AFTER, after=query.after)


@ledger.operation("POST /v1/ledger/dishes", scope="ledger:write", status=204)
async def serve_dish(call: Call, dish: Dish) -> None:
    """Serve a dish to whoever takes it."""
    call.emit(DishServed(dish.name, dish.poisoned))


@ledger.transaction("POST /v1/ledger/freeze", scope="ledger:write", status=204)
async def freeze(call: Call, dish: Dish) -> None:
    """Freeze the process in the middle of a commit; over SQLite it is its turn to commit."""
    call.write(DONE.insert(Done(dish.name)))
    begin(dish.name)
    # To this thread itself: else it could commit before another one takes the signal.
    signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)


@ledger.on("ledger.*", "records.record.*", from_start=True)
async def see(call: Call, event: Envelope) -> None:
    """Note an event."""
    call.write(SEEN.insert(Seen(event.id, event.type)))


@ledger.job(queue="bulk")
async def stamp(call: Call, account: str) -> None:
    """Stamp an account, once."""
    call.write(STAMPS.insert(Stamp(account)))


@ledger.on("ledger.dish.*", retry=RetryPolicy(max_attempts=2, first_s=0.1))
async def swallow(call: Call, dish: DishServed) -> None:
    """Take a dish; one that is poisoned takes the process."""
    begin(f"swallow {dish.name}")
    if dish.poisoned:
        os.kill(os.getpid(), signal.SIGKILL)
    call.write(DONE.insert(Done(dish.name)))


@ledger.job(max_attempts=1, public=True)
async def hold(call: Call, task: str, for_s: float) -> None:
    """Take a while, once."""
    begin(task)
    await work_s(for_s)
    call.write(DONE.insert(Done(task)))


@ledger.job(max_attempts=5, public=True)
async def carry(call: Call, task: str, for_s: float) -> None:
    """Take a while, and again where it was broken off."""
    begin(task)
    await work_s(for_s)
    call.write(DONE.insert(Done(task)))


if NEXT:

    @ledger.job(queue="bulk", max_attempts=1, public=True)
    async def pack(call: Call, task: str, gift: bool) -> None:
        """Pack something, as a gift or not: an argument that the version before did not have."""
        begin(task)
        call.write(DONE.insert(Done(task)))

    @ledger.job(queue="bulk", max_attempts=1, public=True)
    async def seal(call: Call, task: str) -> None:
        """Seal a parcel, which the version before could not."""
        begin(task)
        call.write(DONE.insert(Done(task)))

else:

    @ledger.job(queue="bulk", max_attempts=1, public=True)
    async def pack(call: Call, task: str) -> None:
        """Pack something."""
        begin(task)
        call.write(DONE.insert(Done(task)))


def begin(task: str) -> None:
    """Note outside of the database that a task was begun, and by whom."""
    with Path(BEGUN).open("a") as file:
        file.write(f"{task}\t{os.getpid()}\n")


async def work_s(seconds: float) -> None:
    """Be at work for so long."""
    await asyncio.wait([asyncio.get_running_loop().create_future()], timeout=seconds)


app = App("crash", services=[ledger])
