"""A list of 30 under rules that reach other collections, beside the same list under a plain one.

Goal: at most twice the cost of the plain list where an index leads there. The rules take turns.
"""

import statistics
import tempfile
from pathlib import Path
from typing import Any

import msgspec
import uvloop
from rich.console import Console
from rich.table import Table

from benchmarks.growth import analyze
from benchmarks.load import request
from benchmarks.servers import Mainspring, postgres
from benchmarks.web import fire

OFFERS = 100_000
STALLS = 1_000
HALLS = 100  # whoever asks owns one of them, and so a hundredth of everything
ROUNDS = 5
BATCH = 1_000
RULES = {
    "plain": "caller != null",
    "a field": "record.seller == caller.user",
    "two relations": "record.stall.hall.owner == caller.user",
    "two relations and back": "record.stall.hall.guards.exists(g, g.user == caller.user)",
}


class Ruled(msgspec.Struct):
    """Lists per second under each rule, on one engine."""

    engine: str
    per_second: dict[str, list[float]]


def show(found: list[Ruled], offers: int) -> None:
    """Print the table: how much more a list costs than under the plain rule of the same round."""
    table = Table(
        "database",
        "rule",
        "lists/s",
        "cost beside plain",
        title=f"lists of 30 of {offers:,} under rules",
    )
    for ruled in found:
        plain = ruled.per_second["plain"]
        for name, rates in ruled.per_second.items():
            costs = [p / r for p, r in zip(plain, rates, strict=True)]
            table.add_row(
                ruled.engine, name, f"{statistics.median(rates):,.0f}",
                f"{statistics.median(costs):.2f} ({min(costs):.2f} to {max(costs):.2f})",
            )  # fmt: skip
    Console(width=120).print(table)


def measure(
    offers: int = OFFERS, seconds: float = 2.0, rounds: int = ROUNDS, *, only_sqlite: bool = False
) -> list[Ruled]:
    """Measure on SQLite, and on PostgreSQL where there is one."""
    found = [_measure("SQLite", None, offers, seconds, rounds)]
    if not only_sqlite:
        with postgres() as server:
            if server is not None:
                url = server.create_database()
                found.append(_measure("PostgreSQL", url, offers, seconds, rounds))
    return found


def _measure(engine: str, url: str | None, offers: int, seconds: float, rounds: int) -> Ruled:
    settings = {} if url is None else {"MAINSPRING_DATABASE__URL": url}
    with tempfile.TemporaryDirectory(prefix="mainspring-bench-") as root:
        server = Mainspring(Path(root), settings=settings)
        server.start()
        try:
            _fill(server, offers)
            if url is not None:
                uvloop.run(analyze(url))
            per_second: dict[str, list[float]] = {name: [] for name in RULES}
            page = request("GET", "/v1/collections/offers/records?limit=30", server.headers())
            for _ in range(rounds):
                for name, rule in RULES.items():
                    change = {"rules": {"list": rule}}
                    server.ask("PATCH", "/v1/collections/offers", change, server.key)
                    per_second[name].append(fire(server, [page], seconds).per_second)
        finally:
            server.stop()
    return Ruled(engine, per_second)


def _fill(server: Mainspring, offers: int) -> None:
    """Make halls, their guards, stalls in them and offers in these."""
    server.prepare(0)  # the user
    me = server.ask("GET", "/v1/users/me", None, server.token)["id"]
    text: dict[str, Any] = {"type": "text", "max": 64}
    _make(server, "halls", [{"name": "owner", **text}], ["owner"])
    _make(server, "guards", [_to("hall", "halls"), {"name": "user", **text}], ["user"])
    _make(server, "stalls", [_to("hall", "halls")])
    fields = [_to("stall", "stalls"), {"name": "seller", **text}, {"name": "title", **text}]
    _make(server, "offers", fields, ["seller"])
    owners = [me if n == HALLS // 2 else f"user_{n}" for n in range(HALLS)]
    halls = _add(server, "halls", [{"owner": owner} for owner in owners])
    pairs = list(zip(halls, owners, strict=True))
    _add(server, "guards", [{"hall": hall, "user": owner} for hall, owner in pairs])
    stalls = _add(server, "stalls", [{"hall": halls[n % HALLS]} for n in range(STALLS)])
    places = [n % STALLS for n in range(offers)]
    _add(server, "offers", [
        {"stall": stalls[place], "seller": owners[place % HALLS], "title": f"Offer {n}"}
        for n, place in enumerate(places)
    ])  # fmt: skip


def _to(name: str, collection: str) -> dict[str, Any]:
    return {"name": name, "type": "relation", "collection": collection}


def _make(
    server: Mainspring, name: str, fields: list[dict[str, Any]], index: list[str] | None = None
) -> None:
    made = {"name": name, "fields": fields, "indexes": [index] if index else []}
    server.ask("POST", "/v1/collections", made, server.key)


def _add(server: Mainspring, name: str, records: list[dict[str, str]]) -> list[str]:
    ids: list[str] = []
    for start in range(0, len(records), BATCH):
        items = [{"action": "create", "data": each} for each in records[start : start + BATCH]]
        path = f"/v1/collections/{name}/records:batch"
        answer = server.ask("POST", path, {"items": items}, server.key)
        ids += [item["id"] for item in answer["items"]]
    return ids
