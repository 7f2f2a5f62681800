"""Every adapter is opened by its URL, and a URL that opens nothing says what would."""

from pathlib import Path

import pytest

from mainspring.engines import ADAPTERS, opened
from mainspring.ports.database import StartError

REST = {
    "sqlite": "{folder}/a.db", "file": "{folder}/a", "sandbox": "{folder}/mail",
    "postgresql": "//somebody@localhost/shop", "postgres": "//somebody@localhost/shop",
    "s3": "//id:secret@bucket", "fts5": "{folder}/search.db",
    **dict.fromkeys(("opensearch", "opensearch+plain"), "//id:secret@localhost:9200/shop"),
    "aws-kms": "alias/data?region=eu-west-1",
    "mongodb": "//id:secret@localhost/shop",
    "kafka": "//localhost:9092,other/shop", "grpc": "//127.0.0.1:0",
    **dict.fromkeys(("redis", "rediss"), "//:secret@localhost:6379/0"),
    **dict.fromkeys(("redis+cluster", "rediss+cluster"), "//localhost:6379,other"),
    **dict.fromkeys(("redis+sentinel", "rediss+sentinel"), "//localhost:26379,other/shop"),
    **dict.fromkeys(("smtp+starttls", "smtps", "smtp+plain"), "//localhost?from=a@example.com"),
}  # fmt: skip
EVERY = [(port, scheme) for port, schemes in ADAPTERS.items() for scheme in schemes]
FILES = [(port, scheme) for port, scheme in EVERY if "{folder}" in REST.get(scheme, "")]


@pytest.mark.parametrize(("port", "scheme"), EVERY)
def test_a_url_opens_what_its_scheme_names(port: str, scheme: str, tmp_path: Path) -> None:
    adapter = opened(port, f"{scheme}:{REST.get(scheme, '').format(folder=tmp_path)}")
    assert type(adapter).__module__ == ADAPTERS[port][scheme]


@pytest.mark.parametrize("port", ADAPTERS)
@pytest.mark.parametrize("url", ["", "shop.db", "gopher://user:secret@host/x"])
def test_a_scheme_nobody_knows_is_refused_with_those_there_are(port: str, url: str) -> None:
    with pytest.raises(StartError) as caught:
        opened(port, url)
    said = str(caught.value)
    assert said.startswith(f"{port}: ")
    assert all(f"{scheme}:" in said for scheme in ADAPTERS[port])
    assert "secret" not in said
    assert port != "bus" or "it starts with log:" in said


@pytest.mark.parametrize(("port", "scheme"), FILES)
def test_a_path_is_wanted(port: str, scheme: str) -> None:
    with pytest.raises(StartError, match=f"Write {scheme}:PATH"):
        opened(port, f"{scheme}:")


@pytest.mark.parametrize(
    ("port", "url"),
    [
        ("telemetry", "rollups:x"),
        ("http_client", "direct:x"),
        ("limits", "memory:many"),
        ("cache", "memory:0"),
    ],
)
def test_what_an_adapter_does_not_take_is_refused(port: str, url: str) -> None:
    with pytest.raises(StartError, match="write"):
        opened(port, url)


def test_a_driver_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ADAPTERS["database"], "postgresql", "no_such_driver.adapter")  # type: ignore[arg-type]
    with pytest.raises(StartError, match=r"needs the package no_such_driver.*\[postgres\]"):
        opened("database", "postgresql://host/x")
