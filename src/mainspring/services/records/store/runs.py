"""Runs and their reports: the tables and all SQL about them."""

import msgspec

from mainspring import Query, Table


class RunRow(msgspec.Struct, frozen=True):
    """A run: ``spec`` says what it does and ``errors`` what it could not do, in JSON.

    ``place`` is where it goes on, with so many ``at_once``. While it goes on it imports ``blob``
    and has one of its actor's slots; so many of its errors are ``reported``.
    """

    id: str
    tenant: str
    collection: str
    kind: str
    spec: str
    actor: str
    state: str
    total: int | None
    done: int
    skipped: int
    failed: int
    errors: str
    problem: str | None
    place: str
    at_once: int
    created_ms: int
    updated_ms: int
    reported: int = 0
    blob: str | None = None
    slot: int | None = None
    version: int = 1


class ReportRow(msgspec.Struct, frozen=True):
    """Errors of one page of a run, in JSON, of which so many came before."""

    run: str
    begins_at: int
    errors: str
    made_ms: int


RUNS = Table("records_runs", RunRow, key=("id",))
RUN = Query(
    "records.run",
    f"SELECT {RUNS.columns} FROM records_runs WHERE id = :id AND tenant = :tenant",
    RUNS,
)
RUNS_PAGE = Query(
    "records.runs_page",
    f"SELECT {RUNS.columns} FROM records_runs WHERE tenant = :tenant AND id < :before "
    "AND (:collection = '' OR collection = :collection) AND (:state = '' OR state = :state) "
    "ORDER BY id DESC LIMIT :limit",
    RUNS,
    scans=True,
)
RUNS_PAGE_OF = Query(
    "records.runs_page_of",
    f"SELECT {RUNS.columns} FROM records_runs WHERE tenant = :tenant AND actor = :actor "
    "AND id < :before AND (:collection = '' OR collection = :collection) "
    "AND (:state = '' OR state = :state) ORDER BY id DESC LIMIT :limit",
    RUNS,
    scans=True,
)
RUN_SLOTS = Query(
    "records.run_slots",
    "SELECT slot FROM records_runs WHERE tenant = :tenant AND actor = :actor "
    "AND slot IS NOT NULL LIMIT :limit",
    int,
)
RUN_OF_BLOB = Query("records.run_of_blob", "SELECT id FROM records_runs WHERE blob = :blob", str)
REPORTS = Table("records_run_reports", ReportRow, key=("run", "begins_at"))
REPORT_PAGE = Query(
    "records.report_page",
    f"SELECT {REPORTS.columns} FROM records_run_reports "
    "WHERE run = :run AND begins_at >= :begins_at ORDER BY begins_at LIMIT :limit",
    REPORTS,
)
