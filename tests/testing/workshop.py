"""A small app with what can go wrong in one: jobs that fail, wait and repeat, events, schedules."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated

import msgspec

from mainspring import (
    App,
    Call,
    Conflict,
    Input,
    JobFailed,
    Money,
    Personal,
    Query,
    Raw,
    RetryPolicy,
    Service,
    Snooze,
    StreamItem,
    Table,
    Upload,
)
from mainspring.ports.http_client import HttpClient


class WorkshopSettings(msgspec.Struct, frozen=True):
    """``[workshop]``: a test changes it."""

    greeting: str = "hello"


class Tool(msgspec.Struct, frozen=True):
    id: str
    name: str
    price_amount: int
    price_currency: str
    version: int = 1


TOOLS = Table("workshop_tools", Tool, key=("id",))
TOOL = Query("workshop.tool", f"SELECT {TOOLS.columns} FROM workshop_tools WHERE id = :id", TOOLS)
ALL_TOOLS = Query(
    "workshop.tools", f"SELECT {TOOLS.columns} FROM workshop_tools ORDER BY id", TOOLS, scans=True
)

workshop = Service(
    "workshop",
    doc="Tools, for the tests of the harness.",
    migrations=Path(__file__).with_name("workshop_migrations"),
    settings=WorkshopSettings,
)
app = App("workshop", services=[workshop])


class NameTaken(Conflict):
    code = "name_taken_here"


class NewTool(Input, frozen=True):
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=40)]
    price: Money = Money(0, "USD")


class Shown(msgspec.Struct, frozen=True):
    id: str
    name: str
    price: Money


class Only(Input, frozen=True):
    limit: Annotated[int, msgspec.Meta(ge=1, le=5)] = 5


@workshop.event("workshop.tool.made")
class ToolMade(msgspec.Struct, frozen=True):
    id: str
    name: str


@workshop.event("workshop.owner.named", person="id")
class OwnerNamed(msgspec.Struct, frozen=True):
    id: str
    name: Annotated[str, Personal]


class Switches:
    """What a test sets to make things fail."""

    failures = 0  # how often ``sharpen`` fails before it works
    poison = False  # whether ``note`` fails


class Meeting(asyncio.Barrier):
    """Where two jobs wait for each other."""

    def __init__(self) -> None:
        super().__init__(2)


workshop.provide(Switches)
workshop.provide(Meeting)


@workshop.operation("POST /v1/tools", scope="workshop:write", status=201, raises=(NameTaken,))
async def make(call: Call, new: NewTool) -> Shown:
    """Make a tool."""
    tool = Tool(call.new_id("tool"), new.name, new.price.amount, new.price.currency)
    call.write(TOOLS.insert(tool, on_conflict=NameTaken))
    call.emit(ToolMade(tool.id, tool.name))
    return Shown(tool.id, tool.name, new.price)


@workshop.operation("GET /v1/tools/{id}", scope="workshop:read")
async def show(call: Call, id: str) -> Shown:
    """Show a tool."""
    tool = await call.one(TOOL, id=id)
    return Shown(tool.id, tool.name, Money(tool.price_amount, tool.price_currency))


@workshop.operation("PATCH /v1/tools/{id}", scope="workshop:write")
async def rename(call: Call, id: str, change: NewTool) -> Shown:
    """Rename a tool, in the version that was read."""
    tool = await call.one(TOOL, id=id)
    call.require_match(f'"{tool.version}"')
    call.write(TOOLS.update(tool, name=change.name))
    return Shown(tool.id, change.name, Money(tool.price_amount, tool.price_currency))


@workshop.operation("GET /v1/tools", scope="workshop:read")
async def list_tools(call: Call, query: Only) -> list[Tool]:
    """List a few tools."""
    return (await call.all(ALL_TOOLS))[: query.limit]


@workshop.operation("GET /v1/greeting", scope=None)
async def greet(call: Call) -> str:
    """Greet whoever comes."""
    return f"{call.use(WorkshopSettings).greeting} {call.caller.kind}"


@workshop.raw("GET /v1/tool_sheet", scope=None)
async def sheet(call: Call) -> Raw:
    """Answer no JSON."""
    return Raw(b"a sheet", media_type="text/plain")


@workshop.stream("GET /v1/ticks", scope=None)
async def ticks(call: Call) -> AsyncIterator[StreamItem]:
    """Count to two."""
    for number in (b"1", b"2"):
        yield StreamItem(number)


@workshop.upload("PUT /v1/drawings/{name}", scope="workshop:write")
async def draw(call: Call, name: str, file: Upload) -> int:
    """Keep a drawing."""
    return file.size_bytes


@workshop.on("workshop.tool.made", retry=RetryPolicy(max_attempts=3, schedule_s=(60.0,), jitter=0))
async def note(call: Call, event: ToolMade) -> None:
    """Sharpen each new tool, once."""
    if call.use(Switches).poison:
        raise ValueError("poisoned")
    call.enqueue(sharpen.configure(unique_key=event.id), tool_id=event.id)


@workshop.job(
    retry=RetryPolicy(max_attempts=3, schedule_s=(0.0, 60.0, 600.0), jitter=0), public=True
)
async def sharpen(call: Call, tool_id: str) -> None:
    """Sharpen a tool; fails as often as the test wants."""
    switches = call.use(Switches)
    if switches.failures:
        switches.failures -= 1
        raise RuntimeError("the stone is dry")


@workshop.job()
async def wait(call: Call, until_ms: int) -> None:
    """Ask to be run again in an hour until it is time."""
    if call.now_ms < until_ms:
        raise Snooze(3600, "not yet")


@workshop.job()
async def give_up(call: Call) -> None:
    """Fail for good."""
    raise JobFailed("no use")


@workshop.job()
async def again(call: Call) -> None:
    """Make work without end."""
    call.enqueue(again)


@workshop.job(timeout_s=20)
async def meet(call: Call) -> None:
    """Go on when another one is there."""
    await call.use(Meeting).wait()


@workshop.job()
async def ring(call: Call) -> None:
    """Ring another's bell."""
    await call.use(HttpClient).post(
        "https://bell.example/ring", b"{}", {"X-Bell": "1"}, timeout_s=1
    )


@workshop.job()
async def sweep(call: Call) -> None:
    """Leave a tool behind, so that a test can count the nights."""
    number = len(await call.all(ALL_TOOLS))
    call.write(TOOLS.insert(Tool(call.new_id("tool"), f"broom {number}", 0, "USD")))


workshop.every("0 0 * * *", sweep)
