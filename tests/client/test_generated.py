"""The methods are those of the declarations, and a client loads nothing of the server."""

import subprocess
import sys
from pathlib import Path

import mainspring.client.generated
from mainspring.app import BUILT_IN
from mainspring.interfaces.clients import python
from mainspring.interfaces.clients.names import method_name

FOLDER = Path(mainspring.client.generated.__file__).parent
ALONE = """
import sys
from mainspring.client import AsyncClient, Client
Client("http://x"), AsyncClient("http://x")
print(sorted(name for name in sys.modules if name.startswith("mainspring.")))
"""


def test_the_methods_are_those_of_the_declarations(tmp_path: Path) -> None:
    made = tmp_path / "src/mainspring/client/generated"
    made.mkdir(parents=True)
    (made / "__init__.py").write_text((FOLDER / "__init__.py").read_text())
    subprocess.run([sys.executable, "-m", "mainspring.cli.generated", str(made)], check=True)
    (tmp_path / "pyproject.toml").write_text((FOLDER.parents[3] / "pyproject.toml").read_text())
    for command in ("format", "check --fix"):
        ruff = [Path(sys.executable).with_name("ruff"), *command.split(), "--quiet", str(made)]
        subprocess.run(ruff, check=True, cwd=tmp_path)
    told = "make clients writes them anew"
    assert {p.name: p.read_text() for p in made.iterdir()} == {
        p.name: p.read_text() for p in FOLDER.glob("*.py")
    }, told


def test_every_operation_has_a_method_or_is_a_page_for_browsers() -> None:
    without = [
        each.name
        for service in BUILT_IN
        for each in service.operations.values()
        if each not in python.callable_ones(service.operations.values())
    ]
    assert all(name.startswith("users.") for name in without)
    assert sorted(name.removeprefix("users.") for name in without) == [
        "consent_client", "create_authorization", "create_callback", "create_userinfo",
        "get_authorization", "get_callback", "get_logout", "get_userinfo", "introspect_token",
        "login_user", "logout_user", "revoke_token", "token_client",
    ]  # fmt: skip


def test_names_lose_the_noun_of_their_service() -> None:
    names = {"records.delete_record", "records.delete_records", "records.list_records"}
    assert method_name("records.delete_record", names) == "delete"
    assert method_name("records.delete_records", names) == "delete_records"
    assert method_name("records.list_records", names) == "list"
    assert method_name("users.import_users", {"users.import_users"}) == "import_users"
    assert method_name("jobs.get_queue", set()) == "get_queue"


def test_a_client_loads_nothing_of_the_server() -> None:
    told = subprocess.run([sys.executable, "-c", ALONE], capture_output=True, text=True, check=True)
    rooms = ("adapters", "app", "cli", "gateway", "interfaces", "runtime", "services", "settings")
    loaded = {name.split(".")[1] for name in eval(told.stdout)}
    assert not loaded & set(rooms)
