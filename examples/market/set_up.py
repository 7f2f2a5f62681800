"""Make the market's collections: ``python set_up.py http://127.0.0.1:8080 KEY``.

What is there already is brought to what ``collections.json`` says. Rules come last: those of teams
ask memberships, and those of memberships ask teams.
"""

import json
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

COLLECTIONS = json.loads((Path(__file__).parent / "collections.json").read_text())


def ask(url: str, key: str, method: str, path: str, body: Any) -> int:
    """Call the platform; return the status. Raises SystemExit with what it says is wrong."""
    request = urllib.request.Request(
        url + path,
        json.dumps(body).encode(),
        {"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
        method=method,
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            status: int = answer.status
            return status
    except urllib.error.HTTPError as refused:
        if refused.code == 409 and method == "POST":
            return refused.code
        raise SystemExit(f"{method} {path}: {refused.read().decode()}") from None


def set_up(url: str, key: str) -> None:
    """Make each collection, then give each its rules."""
    for made in COLLECTIONS:
        body = {name: value for name, value in made.items() if name != "rules"}
        ask(url, key, "POST", "/v1/collections", body)
    for made in COLLECTIONS:
        ask(url, key, "PATCH", f"/v1/collections/{made['name']}", {"rules": made["rules"]})


if __name__ == "__main__":
    set_up(sys.argv[1].rstrip("/"), sys.argv[2])
