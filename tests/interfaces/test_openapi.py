"""The document, the pages beside it, and a fuzzer that holds the server to the document."""

import asyncio
import re
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jsonschema_rs
import msgspec
import pytest

from mainspring.interfaces.openapi import OpenApiDocument
from mainspring.interfaces.rest import pages
from mainspring.kernel.operation import OperationVariant
from mainspring.runtime import identity
from mainspring.runtime.health import ASK_EVERY_S
from tests.interfaces.conftest import Site, Start
from tests.interfaces.notes import notes

DOCS = Path(__file__).parents[2] / "src/mainspring/interfaces/docs"


@pytest.fixture
def document() -> dict[str, Any]:
    return OpenApiDocument([notes], title="Notes", version="1").build()


def test_every_operation_is_there_once(document: dict[str, Any]) -> None:
    ids = [o["operationId"] for methods in document["paths"].values() for o in methods.values()]
    assert sorted(ids) == sorted(notes.operations)
    assert document["openapi"] == "3.1.0"


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    text = msgspec.json.encode(document).decode()
    references = set(re.findall(r'"\$ref":"#/([^"]+)"', text))
    assert len(references) > 10
    for reference in references:
        at: Any = document
        for step in reference.split("/"):
            at = at[step]


def test_schemas_are_schemas(document: dict[str, Any]) -> None:
    for schema in document["components"]["schemas"].values():
        assert jsonschema_rs.meta.is_valid({**schema, "$schema": _2020})


def test_an_operation_tells_its_scope_statuses_and_headers(document: dict[str, Any]) -> None:
    create = document["paths"]["/v1/notes"]["post"]
    assert create["security"] == [{"bearer": []}]
    assert create["x-scope"] == "notes:write"
    assert {"200", "201", "400", "401", "403", "409", "413", "415", "422", "429", "503"} <= set(
        create["responses"]
    )
    assert create["x-headers"] == [{"$ref": "#/components/parameters/IdempotencyKey"}]
    listing = document["paths"]["/v1/notes"]["get"]
    limit = listing["parameters"][0]
    assert limit["schema"] == {"type": "integer", "minimum": 1, "maximum": 500, "default": 50}
    assert limit["description"] == "items on a page"
    assert document["paths"]["/v1/public"]["get"]["security"] == []
    assert document["components"]["schemas"]["NewNote"]["additionalProperties"] is False


def test_a_shape_stands_for_its_operation() -> None:
    body = {"type": "object", "properties": {"x": {"type": "string"}}}
    shape = OperationVariant("notes.get", "posts", {"id": "posts"}, body, body, public=True)
    built = OpenApiDocument([notes], title="Notes", version="1").build([shape])
    assert "get" not in built["paths"]["/v1/notes/{id}"]
    shaped = built["paths"]["/v1/notes/posts"]["get"]
    assert shaped["operationId"] == "notes.get.posts"
    assert shaped["parameters"] == []


def test_every_failure_is_explained(document: dict[str, Any]) -> None:
    codes = {error["code"]: error for error in document["x-errors"]}
    assert codes["idempotency_key_reused"]["status"] == 422
    assert all(error["doc"] for error in codes.values())


async def test_the_document_is_served_to_anyone(site: Site) -> None:
    answer = await site.http.get("/openapi.json")
    document = msgspec.json.decode(await answer.read())
    assert (answer.status, document["info"]["title"]) == (200, "Mainspring")
    ids = [o["operationId"] for methods in document["paths"].values() for o in methods.values()]
    assert sorted(name for name in ids if name.startswith("notes.")) == sorted(notes.operations)
    again = await site.http.get("/openapi.json", headers={"If-None-Match": answer.headers["ETag"]})
    assert again.status == 304


async def test_shapes_are_shown_to_those_who_may_see_them(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def describe(call: Any) -> list[OperationVariant]:
        return [
            OperationVariant(
                "notes.get", name, {"id": name}, None, {"type": "object"}, public=name == "open"
            )
            for name in ("open", "closed")
        ]

    monkeypatch.setattr(notes, "describe", describe)
    anonymous = msgspec.json.decode(await (await site.http.get("/openapi.json")).read())
    assert "/v1/notes/open" in anonymous["paths"]
    assert "/v1/notes/closed" not in anonymous["paths"]
    _, known = await site.ask("GET", "/openapi.json")
    assert "/v1/notes/closed" in known["paths"]


@pytest.mark.parametrize(("bytes_max", "built"), [(pages.DOCUMENTS_BYTES_MAX, 2), (1_000, 4)])
async def test_a_document_is_written_once_while_there_is_room(
    start: Start, monkeypatch: pytest.MonkeyPatch, bytes_max: int, built: int
) -> None:
    """One that is larger than the whole is kept by itself: the next one takes its place."""
    monkeypatch.setattr(pages, "DOCUMENTS_BYTES_MAX", bytes_max)
    builds: list[int] = []
    build = OpenApiDocument.build

    def counted(self: OpenApiDocument, *args: Any) -> dict[str, Any]:
        builds.append(1)
        return build(self, *args)

    monkeypatch.setattr(OpenApiDocument, "build", counted)
    site = await start()
    for _ in range(2):
        for _ in range(3):
            assert (await site.ask("GET", "/openapi.json"))[0].status == 200
        for _ in range(3):
            assert (await site.http.get("/openapi.json")).status == 200
    assert len(builds) == built


async def test_health_is_told(site: Site) -> None:
    for path, state in (("/healthz", "alive"), ("/readyz", "ready")):
        answer = await site.http.get(path)
        assert (answer.status, await answer.json()) == (200, {"status": state})
        assert answer.headers["Cache-Control"] == "no-store"
    _, status = await site.ask("GET", "/v1/status")
    assert status["version"] == version("mainspring")
    assert (status["ready"], status["failing"]) == (True, [])
    await site.runtime.database.close()
    site.platform.clock.move(ASK_EVERY_S)
    answer, problem = await site.ask("GET", "/readyz")
    (failing,) = problem["failing"]
    assert (answer.status, failing.partition(": ")[0]) == (503, "database")
    assert failing in problem["detail"]
    assert (await site.http.get("/healthz")).status == 200
    _, status = await site.ask("GET", "/v1/status")
    assert (status["ready"], status["failing"]) == (False, [failing])


async def test_a_nonce_is_answered_with_proof_and_nothing_else_is(site: Site) -> None:
    for query in ("", "?nonce=ab", f"?nonce={'A' * 64}", f"?nonce={'a' * 65}"):
        assert (await site.http.get(f"/v1/proof{query}")).status == 400
    answer = await site.http.get(f"/v1/proof?nonce={'a' * 64}")
    proof = identity.prove(site.platform.app.keyring, "a" * 64, site.platform.url)
    assert await answer.json() == {"proof": proof}
    assert answer.headers["Cache-Control"] == "no-store"


async def test_metrics_need_a_scope_beyond_loopback(start: Start) -> None:
    assert (await (await start()).http.get("/metrics")).status == 200
    site = await start(server={"host": "0.0.0.0"})
    assert (await site.http.get("/metrics")).status == 401
    assert (await site.ask("GET", "/metrics"))[0].status == 403


async def test_the_reference_page_needs_nothing_from_elsewhere(site: Site) -> None:
    for path, kind in (("/docs", "text/html"), ("/docs/docs.js", "text/javascript"),
                       ("/docs/docs.css", "text/css")):  # fmt: skip
        answer = await site.http.get(path)
        text = (await answer.read()).decode()
        assert answer.status == 200
        assert answer.headers["Content-Type"] == f"{kind}; charset=utf-8"
        assert "https://" not in text.replace("https://example.com/", "")
        policy = answer.headers["Content-Security-Policy"]
        assert "unsafe" not in policy
        again = await site.http.get(path, headers={"If-None-Match": answer.headers["ETag"]})
        assert again.status == 304
    page = (DOCS / "index.html").read_text()
    assert re.search(r"<script(?![^>]*\bsrc=)", page) is None
    assert "style=" not in page
    assert re.search(r"\son[a-z]+=", page) is None


@pytest.mark.parametrize(
    ("phase", "examples"), [("coverage", 1), pytest.param("fuzzing", 30, marks=pytest.mark.more)]
)
async def test_a_fuzzer_finds_nothing(start: Start, phase: str, examples: int) -> None:
    site = await start(limits={"anonymous": "100000/s", "login": "100000/s"})
    site.gates.opened.set()
    excluded = {"/v1/ticks", "/v1/broken", "/v1/forbidden", "/v1/scribbles",
                "/v1/keys/{id}:revoke"}  # fmt: skip
    paths = {operation.path for operation in notes.operations.values()} - excluded
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "schemathesis.cli", "run", f"{site.platform.url}/openapi.json",
        "-H", "Authorization: Bearer msk_writer", "--max-examples", str(examples), "--no-color",
        "--phases", phase, *(f"--include-path={path}" for path in sorted(paths)),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    # One that was asked to fuzz what is not there finds nothing either.
    selected = len(notes.operations) - len(excluded)
    assert f"{selected} selected" in output.decode()


async def test_the_bare_address_leads_to_the_reference(site: Site) -> None:
    answer, _ = await site.ask("GET", "/")
    assert (answer.status, answer.headers["Location"]) == (302, "/docs")


_2020 = "https://json-schema.org/draft/2020-12/schema"


async def test_a_raw_operation_says_what_body_and_key_it_takes(site: Site) -> None:
    _, document = await site.ask("GET", "/openapi.json")
    described = document["paths"]["/v1/printouts"]["post"]
    schema = described["requestBody"]["content"]["application/json"]["schema"]
    assert schema == {"$ref": "#/components/schemas/NewNote"}
    assert {"$ref": "#/components/parameters/IdempotencyKey"} in described["x-headers"]
