"""A call over MCP beside the same call over REST: one server, one key, alternating rounds.

A goal of 0.5 is what a call over MCP may cost: twice of what it costs over REST.
"""

import itertools
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.load import request
from benchmarks.report import Row
from benchmarks.servers import Mainspring, post
from benchmarks.web import fire, paired

GOAL = 0.5
ROWS = 1_000
CREATES = 20_000  # of a round; no key comes twice
META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
}
RECORDS = "/v1/collections/posts/records"
AT = {"collection": "posts"}


class _Caller:
    """One key, over either."""

    def __init__(self, key: str) -> None:
        self._rest = {"Authorization": f"Bearer {key}"}
        self._mcp = {
            **self._rest,
            "Accept": "application/json, text/event-stream",
            "MCP-Protocol-Version": "2026-07-28",
            "Mcp-Method": "tools/call",
            "Mcp-Name": "call",
        }
        self._numbers = itertools.count()

    def rest(self, path: str) -> bytes:
        return request("GET", path, self._rest)

    def mcp(self, operation: str, **arguments: Any) -> bytes:
        given = {"operation": operation, **arguments}
        params = {"_meta": META, "name": "call", "arguments": given}
        message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        return request("POST", "/mcp", self._mcp, json.dumps(message).encode())

    def creates(self, many: int, *, mcp: bool) -> list[bytes]:
        made: list[bytes] = []
        for number in itertools.islice(self._numbers, many):
            key, body = f"agents-{number}", post(number)
            if mcp:
                made.append(
                    self.mcp("records.create_record", path=AT, body=body, idempotency_key=key)
                )
                continue
            headers = {**self._rest, "Idempotency-Key": key}
            made.append(request("POST", RECORDS, headers, json.dumps(body).encode()))
        return made


def measure(
    seconds: float = 4.0, rounds: int = 3, rows: int = ROWS, creates: int = CREATES
) -> Iterator[Row]:
    """Yield a row per workload."""
    with tempfile.TemporaryDirectory(prefix="mainspring-bench-") as root:
        server = Mainspring(Path(root) / "agents", settings={"MAINSPRING_MCP__WRITES": "true"})
        server.label = "REST"  # beside which MCP, of the same server, is measured
        server.start()
        try:
            ids = server.prepare(rows)
            who = _Caller(server.make_key("records:read", "records:write", "mcp:write"))
            gets = [who.rest(f"{RECORDS}/{i}") for i in ids]
            agents = [who.mcp("records.get_record", path={**AT, "id": i}) for i in ids]
            page = [who.rest(f"{RECORDS}?limit=30")]
            paged = [who.mcp("records.list_records", path=AT, query={"limit": 30})]
            yield paired(
                "MCP: read by id", GOAL, server,
                lambda: fire(server, agents, seconds), lambda: fire(server, gets, seconds), rounds,
            )  # fmt: skip
            yield paired(
                "MCP: list 30", GOAL, server,
                lambda: fire(server, paged, seconds), lambda: fire(server, page, seconds), rounds,
            )  # fmt: skip
            yield paired(
                "MCP: create", GOAL, server,
                lambda: fire(server, who.creates(creates, mcp=True), seconds, repeat=False),
                lambda: fire(server, who.creates(creates, mcp=False), seconds, repeat=False),
                rounds,
            )  # fmt: skip
        finally:
            server.stop()
