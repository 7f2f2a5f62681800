"""The public face of what is done to many records: at once where one commit holds it, else a run.

A run goes on page by page, each a commit, for whoever started it and with what they may do by then.
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from mainspring import (
    Call,
    Conflict,
    Impersonated,
    Input,
    Instant,
    Page,
    PageQuery,
    PerKey,
    Raw,
    Response,
)
from mainspring.services.records.api import (
    BATCH_BYTES_MAX,
    RECORDS_PATH,
    Expression,
    Name,
    StillReferenced,
    UniqueTaken,
    service,
)

AT_ONCE_MAX = 500  # records that one call changes itself
RUN_PAGE_MAX = 200  # that one commit of a run changes
RUN_ERRORS_MAX = 100  # that a run tells itself
RUN_REPORT_MAX = 100_000  # that its report tells; the others it counts
RUN_PAGES_MAX = 2  # of one caller's runs that are worked on at a time
RUN_KEPT_MS = 7 * 24 * 3600 * 1000  # from its end on
RUNS_PATH = "/v1/record_runs"
RUN_PATH = RUNS_PATH + "/{id}"

RunState = Literal["running", "done", "failed", "cancelled"]


class DeleteMany(Input, frozen=True):
    """Which records to delete; none where more than ``limit_max`` pass. ``dry_run`` only counts."""

    filter: Expression
    limit_max: Annotated[int, Meta(ge=1)] | None = None
    dry_run: bool = False


class UpdateMany(DeleteMany, frozen=True, kw_only=True):
    """Which records to change, and what each is sent: as the body of a PATCH."""

    set: msgspec.Raw


class RunError(msgspec.Struct, frozen=True, omit_defaults=True):
    """A record that something kept from being changed: its id, or its line in what was imported."""

    code: str
    detail: str
    id: str | None = None
    line: int | None = None
    errors: list[dict[str, Any]] = []


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """What became of many records. ``id`` is null where it was done at once, or only counted.

    ``total`` is how many there were to begin with, null where counting takes too long.
    ``progress`` is how much of it is behind, of 1: of the file's bytes where one is imported; null
    where that is not known. ``done`` were changed, or were so already; ``skipped`` may not be
    changed by whoever asks; ``failed`` could not be, and the first hundred of those are in
    ``errors``, the first ``reported`` in its report. ``problem`` says why a run failed.
    """

    id: str | None
    kind: Literal["delete", "update", "import"]
    collection: str
    state: Literal["counted", "running", "done", "failed", "cancelled"]
    total: int | None
    progress: float | None
    done: int
    skipped: int
    failed: int
    reported: int
    errors: list[RunError]
    problem: str | None
    created_at: Instant
    updated_at: Instant


class RunQuery(PageQuery, frozen=True):
    """Which runs."""

    state: RunState | None = None
    collection: Name | None = None


class ReportQuery(Input, frozen=True):
    """How the report is written: a line for each record, in CSV for each thing wrong with one."""

    format: Literal["csv", "ndjson"] = "ndjson"


class TooManyRuns(Conflict):
    """The caller has as many runs going as one may."""

    code, title = "too_many_runs", "Too many runs at a time"


class TooMany(Conflict):
    """More records pass the filter than the call says it means."""

    code, title = "too_many_records", "More records than were meant"


class RunEnded(Conflict):
    """The run has ended already."""

    code, title = "run_ended", "The run has ended"


# Operations


@service.contract.operation(
    f"POST {RECORDS_PATH}:delete",
    scope=None,
    raises=(StillReferenced, TooMany, TooManyRuns),
    impersonated=Impersonated.REFUSED,  # a run may act when nobody acts as its caller any more
)
async def delete_records(call: Call, collection: str, many: DeleteMany) -> Response[Run]:
    """Delete the records that pass a filter, each as by itself: rules, cascades, files, events.

    Of those that the caller may list, the ones that they may delete; the others are ``skipped``. Up
    to 500 are deleted in one commit, all or none. More take a run (202): see ``get_run``.
    """


@service.contract.operation(
    f"POST {RECORDS_PATH}:update", scope=None, raises=(UniqueTaken, TooMany, TooManyRuns),
    body_bytes_max=BATCH_BYTES_MAX, impersonated=Impersonated.REFUSED,
)  # fmt: skip
async def update_records(call: Call, collection: str, many: UpdateMany) -> Response[Run]:
    """Change the records that pass a filter, each as a PATCH with ``set`` would. As a deletion."""


@service.contract.operation(f"GET {RUN_PATH}", scope=None)
async def get_run(call: Call, id: str) -> Run:
    """Tell how far a run has come, to whoever started it and to those with ``records:write``."""


@service.contract.operation(f"GET {RUNS_PATH}", scope=None)
async def list_runs(call: Call, query: RunQuery) -> Page[Run]:
    """List the caller's runs, newest first; with ``records:write`` those of all."""


@service.contract.raw(f"GET {RUNS_PATH}/{{run_id}}/errors", scope=None)
async def get_run_report(call: Call, run_id: str, query: ReportQuery) -> Raw:
    """Download what could not be done, line by line: the first 100,000, as far as it has come.

    For whoever may see the run, and as long as that is kept.
    """


@service.contract.operation(f"POST {RUN_PATH}:cancel", scope=None, raises=(RunEnded,))
async def cancel_run(call: Call, id: str) -> Run:
    """End a run after the page that it is at. What it has done stays."""


# Jobs


@service.contract.job(queue="platform", max_attempts=20, concurrency=PerKey("actor", RUN_PAGES_MAX))
async def do_page(call: Call, run: str, actor: str = "") -> None:
    """Do a page of a run, for whoever started it and with what they may do now; then go on."""
