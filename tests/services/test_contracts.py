"""What can be called of a service is known without what does it: no store, driver or cipher."""

import json
import subprocess
import sys

import pytest

from mainspring.app import BUILT_IN

SERVICES = sorted(service.name for service in BUILT_IN)
# What a contract stands on is made with these: the kernel's words and the ports' Protocols.
GROUND = {"cronsim", "idna", "mainspring", "msgspec", "typing_extensions"}
LOADED = """
import importlib, json, pkgutil, sys
before = set(sys.modules)
import mainspring.services.{name}.api as api
operations, jobs = list(api.service.operations.values()), list(api.service.jobs.values())
modules = {{n: getattr(m, "__file__", None) or "" for n, m in sys.modules.items()
           if n not in before}}
handled = [c.name for c in (*operations, *jobs) if c.handled]
package = importlib.import_module("mainspring.services.{name}")
for found in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
    importlib.import_module(found.name)
print(json.dumps({{
    "ours": [n for n in modules if n.partition(".")[0] == "mainspring"],
    "others": list({{n.partition(".")[0] for n, f in modules.items()
                    if "site-packages" in f or n == "sqlite3"}}),
    "operations": len(operations),
    "handled": handled,
    "later": sorted({{*api.service.operations}} - {{o.name for o in operations}}),
}}))
"""


@pytest.mark.parametrize("name", SERVICES)
def test_an_api_imports_nothing_heavy(name: str) -> None:
    run = subprocess.run(
        [sys.executable, "-c", LOADED.format(name=name)], capture_output=True, check=True
    )
    told = json.loads(run.stdout)
    assert [module for module in told["ours"] if not _is_word(module)] == []
    assert set(told["others"]) <= GROUND
    assert told["operations"] > 0
    assert told["handled"] == []
    assert told["later"] == []  # the face has every contract there is


def _is_word(module: str) -> bool:
    """Tell whether a module of ours is the kernel's, a port, an ``api`` or its pure rules."""
    parts = module.split(".")[1:]
    if parts[:1] == ["services"]:
        return len(parts) <= 2 or parts[2] == "api" or parts[2:] == ["model"]
    return not parts or parts[0] in ("kernel", "ports")
