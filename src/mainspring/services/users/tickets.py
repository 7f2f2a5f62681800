"""Tickets: tokens for what was begun and is to be ended once, by whoever began it.

A log-in that waits for its second factor has one. What a ticket is good for is its ``kind``; it
opens nothing else, lasts minutes, and is gone when it is spent. The token is derived and not
stored, and what the ticket remembers is sealed.
"""

import base64
from typing import TypeVar

import msgspec

from mainspring import Call, Failure, Rerun
from mainspring.ports.keyring import Keyring
from mainspring.services.users import model, store
from mainspring.services.users.store import TICKETS, TicketRow

PREFIX = "mst_"
PURPOSE = "users.ticket"
D = TypeVar("D", bound=msgspec.Struct)


def issue(call: Call, kind: str, data: msgspec.Struct, life_s: int, user_id: str | None) -> str:
    """Stage a ticket, and return the token that whoever holds it spends."""
    ticket_id = call.new_id("tick")
    keyring = call.use(Keyring)
    token = _token(keyring, ticket_id)
    row = TicketRow(
        id=ticket_id,
        tenant=call.tenant,
        kind=kind,
        user_id=user_id,
        hash=model.secret_hash(token),
        data=keyring.seal(msgspec.json.encode(data), purpose=f"{PURPOSE}.{kind}"),
        created_ms=call.now_ms,
        expires_ms=call.now_ms + life_s * 1000,
    )
    call.write(TICKETS.insert(row))
    return token


def text_of(call: Call, row: TicketRow) -> str:
    """Return the token of a ticket."""
    return _token(call.use(Keyring), row.id)


def _token(keyring: Keyring, ticket_id: str) -> str:
    proof = keyring.fingerprint(ticket_id.encode(), purpose=PURPOSE)
    return PREFIX + base64.urlsafe_b64encode(proof).rstrip(b"=").decode()


async def find(call: Call, kind: str, token: str) -> TicketRow | None:
    """Return the ticket of this kind that a token stands for while it holds."""
    row = await call.find(store.TICKET_BY_HASH, tenant=call.tenant, hash=model.secret_hash(token))
    if row is None or row.kind != kind or row.expires_ms <= call.now_ms:
        return None
    return row


def read(call: Call, row: TicketRow, shape: type[D]) -> D:
    """Return what a ticket remembers."""
    plain = call.use(Keyring).unseal(row.data, purpose=f"{PURPOSE}.{row.kind}")
    return msgspec.json.decode(plain, type=shape)


def spend(call: Call, row: TicketRow, refusal: Failure | type[Rerun]) -> None:
    """Stage the end of a ticket. Of two calls that spend one, the second hears ``refusal``."""
    call.write(store.SPEND_TICKET(id=row.id).expect(1, refusal))
