"""Which connections to PostgreSQL are made sure to be the server's."""

import pytest

from mainspring.adapters.database.postgres_pool import Target


@pytest.mark.parametrize(
    ("url", "unverified"),
    [
        ("postgresql://app:secret@db.internal/shop", True),
        ("postgresql://app:secret@db.internal/shop?sslmode=require", True),
        ("postgresql://app:secret@192.0.2.7/shop?sslmode=disable", True),
        ("postgresql://db.internal/shop?sslmode=verify-full", False),
        ("postgresql://db.internal/shop?sslmode=verify-ca&sslrootcert=/ca.pem", False),
        ("postgresql://localhost/shop", False),
        ("postgresql://127.0.0.1/shop", False),
        ("postgresql://[::1]/shop", False),
        ("postgresql:///shop?host=/run/postgresql", False),
        ("postgresql:///shop?host=localhost,db.internal", True),
    ],
)
def test_another_machine_is_warned_of(
    url: str, unverified: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PGSSLMODE", raising=False)
    target = Target(url)
    assert target.unverified is unverified
    assert "secret" not in target.shown
