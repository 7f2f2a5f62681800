"""The app that the crash suite kills: accounts, deposits, a consumer and a job, each countable."""

from pathlib import Path

import msgspec

from mainspring import (
    App,
    Call,
    Conflict,
    Envelope,
    Input,
    Query,
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


ACCOUNTS = Table("ledger_accounts", Account, key=("id",))
SEEN = Table("ledger_seen", Seen, key=("event_id",))
STAMPS = Table("ledger_stamps", Stamp, key=("account",))
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

ledger = Service(
    "ledger",
    doc="Accounts and deposits.",
    migrations=Path(__file__).parent / "ledger_migrations",
)


class NewAccount(Input):
    name: str


class Deposit(Input):
    amount: int


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


@ledger.on("ledger.*", "records.record.*", from_start=True)
async def see(call: Call, event: Envelope) -> None:
    """Note an event."""
    call.write(SEEN.insert(Seen(event.id, event.type)))


@ledger.job(queue="bulk")
async def stamp(call: Call, account: str) -> None:
    """Stamp an account, once."""
    call.write(STAMPS.insert(Stamp(account)))


app = App("crash", services=[ledger])
