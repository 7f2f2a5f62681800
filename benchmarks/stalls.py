"""The longest stalls of the server's event loop beside what is heavy, and what held it.

Each kind of heavy call runs alone beside light reads, and then all of them together: log-ins with
Argon2, the largest lists, an export of the log, uploads, and large bodies of JSON.
"""

import json
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from benchmarks.servers import Mainspring, post
from benchmarks.stall_watch import Stall

GOAL_MS = 20.0
SECONDS = 5.0
ROWS = 20_000
LIST_MAX = 500
UPLOAD_BYTES = 8 << 20
JSON_PARTS = 500
LARGE_RECORDS = 50
TOGETHER = 2  # callers of each kind
READERS = 4
HOLDERS_SHOWN = 3
LOADS = (
    "light reads", "log-ins", "lists of 500", "export of the log", "uploads", "batches of 500",
    "bodies of 800 kB", "all together",
)  # fmt: skip
RECORDS = "/v1/collections/posts/records"


class Stalled(msgspec.Struct):
    """What one kind of load did to the loop."""

    load: str
    calls: int
    stalls: list[Stall]


def show(found: list[Stalled]) -> None:
    """Print the table, and who held the loop longest."""
    table = Table(
        "load", "heavy calls", f"stalls over {GOAL_MS:.0f} ms", "p99 ms", "longest ms",
        "longest, of work",
        title="stalls of the event loop",
    )  # fmt: skip
    for stalled in found:
        times = sorted(1000 * stall.seconds for stall in stalled.stalls) or [0.0]
        table.add_row(
            stalled.load, f"{stalled.calls:,}", f"{sum(t > GOAL_MS for t in times):,}",
            f"{times[len(times) * 99 // 100]:.1f}", f"{times[-1]:.1f}",
            f"{max((1000 * stall.worked_s for stall in stalled.stalls), default=0.0):.1f}",
        )  # fmt: skip
    Console(width=110).print(table)
    for stalled in found:
        longest: Counter[str] = Counter()
        for stall in stalled.stalls:
            longest[stall.held_by] = max(longest[stall.held_by], round(1000 * stall.worked_s))
        for held_by, ms in longest.most_common(HOLDERS_SHOWN):
            print(f"{stalled.load}: {ms} ms of work in {held_by}")


class _Site(Mainspring):
    def start(self) -> None:
        """Start on this directory, with the loop watched."""
        self.launch(
            [self._python, "-m", "benchmarks.stall_watch", "up", "--workers", "1",
             "--port", str(self.port), "--data-dir", str(self.directory / "data")],
            {"MAINSPRING_LIMITS__DEFAULT": "1000000/s", "MAINSPRING_LIMITS__LOGIN": "1000000/s",
             "STALLS": str(self.directory / "stalls"), **self._settings},
        )  # fmt: skip
        self.key = (self.directory / "data" / "admin.key").read_text().strip()

    def stalls(self) -> list[Stall]:
        """What was noted, once it has ended."""
        return msgspec.json.decode((self.directory / "stalls").read_bytes(), type=list[Stall])

    def call(self, method: str, path: str, body: bytes | None = None, kind: str = "") -> int:
        """Make one call as the administrator; return how many bytes came back."""
        headers = {"Authorization": f"Bearer {self.key}"}
        if body is not None:
            headers["Content-Type"] = kind or "application/json"
        url = f"http://127.0.0.1:{self.port}{path}"
        asked = urllib.request.Request(url, data=body, headers=headers, method=method)
        try:
            with urllib.request.urlopen(asked, timeout=120) as answer:
                return len(answer.read())
        except urllib.error.HTTPError as error:
            raise RuntimeError(f"{method} {path}: {error.read()[:500]!r}") from error


def _loads(site: _Site) -> dict[str, Callable[[], object]]:
    who = json.dumps({"email": "reader@example.com", "password": "correct horse battery 9"})
    batch = json.dumps({"items": [{"action": "create", "data": post(n)} for n in range(500)]})
    parts = {"settings": [{"name": f"n{n}", "value": n} for n in range(JSON_PARTS)]}
    large = json.dumps({"items": [{"action": "create", "data": parts}] * LARGE_RECORDS})
    file = bytes(UPLOAD_BYTES)
    made = site.ask("POST", "/v1/collections/files/records", {}, site.key)["id"]
    return {
        "log-ins": lambda: site.call("POST", "/v1/sessions", who.encode()),
        "lists of 500": lambda: site.call("GET", f"{RECORDS}?limit={LIST_MAX}"),
        "export of the log": lambda: site.call("GET", "/v1/audit/export"),
        "uploads": lambda: site.call(
            "POST", f"/v1/collections/files/records/{made}/files/file", file, "video/mp4"
        ),
        "batches of 500": lambda: site.call("POST", f"{RECORDS}:batch", batch.encode()),
        "bodies of 800 kB": lambda: site.call(
            "POST", "/v1/collections/files/records:batch", large.encode()
        ),
    }


def measure(
    seconds: float = SECONDS, rows: int = ROWS, names: tuple[str, ...] = LOADS
) -> list[Stalled]:
    """Measure each kind of load alone, then all together, each on a server of its own."""
    with tempfile.TemporaryDirectory(prefix="mainspring-bench-") as root:
        return [
            _measure(_Site(Path(root) / str(number)), name, seconds, rows)
            for number, name in enumerate(names)
        ]


def _measure(site: _Site, name: str, seconds: float, rows: int) -> Stalled:
    site.start()
    calls = [0]
    try:
        ids = site.prepare(rows)
        fields = [{"name": "file", "type": "file"}, {"name": "settings", "type": "json"}]
        site.ask("POST", "/v1/collections", {"name": "files", "fields": fields}, site.key)
        loads = _loads(site)
        chosen = [loads[one] for one in loads if name in (one, "all together")]
        _loads(site)["bodies of 800 kB"]()  # what is wrong with one is said here
        begun_s = time.perf_counter()
        ends_s = begun_s + seconds

        def repeat(load: Callable[[], object], count: list[int]) -> None:
            while time.perf_counter() < ends_s:
                load()
                count[0] += 1

        light = [lambda: site.call("GET", f"{RECORDS}/{ids[len(ids) // 2]}")] * READERS
        threads = [
            *(threading.Thread(target=repeat, args=(one, [0])) for one in light),
            *(threading.Thread(target=repeat, args=(one, calls)) for one in chosen * TOGETHER),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        site.stop()
    # What the start and the filling of the table did came before.
    return Stalled(name, calls[0], [stall for stall in site.stalls() if stall.at_s >= begun_s])
