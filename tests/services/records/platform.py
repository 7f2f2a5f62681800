"""The records service on a platform at rest, driven call by call."""

import json
from collections.abc import Mapping
from typing import Any

import msgspec

from mainspring.app import Instance
from mainspring.kernel.call import Call, Caller
from mainspring.kernel.operation import Operation
from mainspring.kernel.table import Query
from mainspring.runtime.invoke.dispatcher import Outcome
from mainspring.services.records import service
from mainspring.testing.clock import FakeClock

KEY = Caller("key", "key_1", scopes=frozenset({"*"}))
ANNA = Caller("user", "user_anna")
BERT = Caller("user", "user_bert")
NOBODY = Caller("anonymous")

EVENTS = Query(
    "test.events",
    "SELECT type, body FROM events WHERE type LIKE 'records.%' ORDER BY id",
    tuple,
)


class Platform:
    """Runs operations as a caller would, and jobs when the test says so."""

    def __init__(self, instance: Instance, clock: FakeClock) -> None:
        self.runtime = instance.runtime
        self.database = instance.database
        self.directory = instance.data_dir
        self.clock = clock
        self._calls = 0

    def call(self, caller: Caller = KEY, if_match: str | None = None) -> Call:
        self._calls += 1
        return self.runtime.dispatcher.call(
            caller, request_id=f"req_{self._calls}", if_match=if_match
        )

    async def run(
        self,
        operation_name: str,
        caller: Caller = KEY,
        /,
        *,
        if_match: str | None = None,
        **args: Any,
    ) -> Outcome:
        """Run an operation. ``body`` and dict arguments are sent as JSON would be."""
        call = self.call(caller, if_match)
        return await self.runtime.dispatcher.run(*self.prepared(call, operation_name, **args))

    def prepared(
        self, call: Call, operation_name: str, /, **args: Any
    ) -> tuple[Operation, Call, dict[str, Any]]:
        """What the dispatcher is given for an operation, ``args`` as for ``run``."""
        operation = service.operations[f"records.{operation_name}"]
        if operation.query_param is not None:
            args.setdefault(operation.query_param, {})
        return operation, call, _typed(operation, args)

    async def make(self, name: str, *fields: Mapping[str, Any], **parts: Any) -> dict[str, Any]:
        """Create a collection."""
        outcome = await self.run("create_collection", new={"name": name, "fields": fields, **parts})
        return read(outcome)

    async def add(self, collection: str, caller: Caller = KEY, **fields: Any) -> dict[str, Any]:
        """Create a record; ids and times go on by a millisecond."""
        self.clock.move(0.001)
        return read(await self.run("create_record", caller, collection=collection, body=fields))

    async def get(
        self, collection: str, id: str, caller: Caller = KEY, **query: Any
    ) -> dict[str, Any]:
        outcome = await self.run("get_record", caller, collection=collection, id=id, query=query)
        return read(outcome)

    async def page(self, collection: str, caller: Caller = KEY, **query: Any) -> dict[str, Any]:
        return read(await self.run("list_records", caller, collection=collection, query=query))

    async def everything(self, collection: str, caller: Caller = KEY, **query: Any) -> list[Any]:
        """Follow the pages to the end."""
        items: list[Any] = []
        page = await self.page(collection, caller, **query)
        while True:
            items += page["items"]
            if page["next_cursor"] is None:
                return items
            page = await self.page(collection, caller, cursor=page["next_cursor"], **query)

    async def work(self) -> int:
        """Run jobs until none is due; return how many of this service ran."""
        ran = 0
        while done := (await self.runtime.run_due()).attempts:
            assert all(attempt.error is None for attempt in done)
            ran += sum(attempt.job.name in service.jobs for attempt in done)
        return ran

    async def events(self) -> list[tuple[str, Any]]:
        return [(t, json.loads(body)) for t, body in await self.database.read(EVENTS, ())]


def read(outcome: Outcome) -> Any:
    return json.loads(outcome.body) if outcome.body else None


def _typed(operation: Operation, args: Mapping[str, Any]) -> dict[str, Any]:
    kinds = {operation.query_param: operation.query, operation.body_param: operation.body}
    made = {}
    for name, value in args.items():
        kind = kinds.get(name)
        if kind is msgspec.Raw:
            made[name] = msgspec.Raw(msgspec.json.encode(value))
        elif kind is None:
            made[name] = value
        else:
            made[name] = msgspec.json.decode(msgspec.json.encode(value), type=kind)
    return made
