"""Users from elsewhere: hashes of others, what they may cost, and that log-in stores them anew."""

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from mainspring.cli.commands import app
from mainspring.kernel.call import SYSTEM, Caller
from mainspring.kernel.errors import Invalid, Unauthenticated
from mainspring.kernel.table import Query
from mainspring.services.users import foreign_passwords, model
from mainspring.services.users.api.errors import ScopeNotHeld
from mainspring.services.users.api.imports import (
    ImportedUser,
    ImportOutcome,
    UserImport,
)
from tests.services.users.people import CountingPasswords, People

ANN = "ann@example.com"
# Vectors of those who made the forms: crypt_blowfish, Django's tests, Firebase's README, and the
# reference implementation of Argon2.
KNOWN = {
    "bcrypt": ("$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", "U*U"),
    "pbkdf2": (
        "pbkdf2_sha256$20000$seasalt$oBSd886ysm3AqYun62DOdin8YcfbU1z9cksZSuLP9r0=", "lètmein"
    ),
    "scrypt": (
        "scrypt$16384$seasalt$8$1$Qj3+9PPyRjSJIebHnG81TMjsqtaIGxNQG/aEB/NYafTJ7tibgfYz71m0ldQESkXF"
        "RkdVCBhhY8mx7rQwite/Pw==", "lètmein",
    ),
    "firebase": (
        "$fbscrypt$v=1,n=14,r=8,p=1,ss=Bw==,sk=jxspr8Ki0RYycVU8zykbdLGjFQ3McFUH0uiiTvC8pVMXAn210wj"
        "LNmdZJzxUECKbm0QsEmYUSDzZvpjeJ9WmXA==$42xEC+ixf3L2lw==$lSrfV15cpx95/sZS2W9c9Kp6i/LVgQNDNC"
        "/qzrCnh1SAyZvqmZqAjTdn3aoItz+VHjoZilo78198JAdRuid5lQ==", "user1password",
    ),
    "argon2i": (
        "$argon2i$v=19$m=256,t=2,p=1$c29tZXNhbHQ$iekCn0Y3spW+sCcFanM2xBT63UP2sghkUoHLIUpWRS8",
        "password",
    ),
    "argon2id": (
        "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
        "password",
    ),
}  # fmt: skip
HASHES = Query("test.hashes", "SELECT password_hash FROM users_users ORDER BY id", str)


async def bring(people: People, *users: ImportedUser, by: Caller = SYSTEM) -> list[ImportOutcome]:
    batch = UserImport(users=list(users))
    items: list[ImportOutcome] = (
        await people.ask("import_users", caller=by, batch=batch)
    ).value.items
    return items


@pytest.mark.parametrize("form", KNOWN)
async def test_a_password_of_elsewhere_logs_in_and_is_stored_anew(
    people: People, passwords: CountingPasswords, form: str
) -> None:
    hashed, password = KNOWN[form]
    new = ImportedUser(email=ANN, password_hash=hashed, email_verified=True)
    (outcome,) = await bring(people, new)
    assert outcome.status == "created"
    assert await people.all(HASHES) == [hashed]
    with pytest.raises(Unauthenticated):
        await people.log_in(ANN, password + "x")
    assert await people.all(HASHES) == [hashed]
    tokens = await people.log_in(ANN, password)
    assert (tokens.user.id, tokens.user.email_verified) == (outcome.id, True)
    (stored,) = await people.all(HASHES)
    assert stored.startswith("$argon2id$")
    assert not passwords.is_stale(stored)
    await people.log_in(ANN, password)
    with pytest.raises(Unauthenticated):
        await people.log_in(ANN, password + "x")
    assert await people.mail.sent() == []
    assert hashed not in "".join(await people.bodies("users.user.created"))


SALT, DIGEST = "c2FsdHNhbHQ", "A" * 43
COSTLY = [
    f"$argon2id$v=19$m=65537,t=1,p=1${SALT}${DIGEST}",
    f"$argon2id$v=19$m=64,t=11,p=1${SALT}${DIGEST}",
    f"$argon2id$v=19$m=65536,t=1,p=9${SALT}${DIGEST}",
    f"$argon2id$v=16$m=64,t=1,p=1${SALT}${DIGEST}",
    "$2b$15$" + "." * 53,
    "$2b$03$" + "." * 53,
    f"pbkdf2_sha256$2000001$salt${DIGEST}=",
    f"pbkdf2_sha256$999$salt${DIGEST}=",
    f"pbkdf2_md5$20000$salt${DIGEST}=",
    "pbkdf2_sha256$20000$salt$AAAA",
    f"scrypt$131072$salt$8$1${DIGEST}=",
    f"scrypt$16385$salt$8$1${DIGEST}=",
    f"scrypt$2$salt$17$1${DIGEST}=",
    f"scrypt$2$salt$8$5${DIGEST}=",
    f"$fbscrypt$v=1,n=17,r=8,p=1,ss=,sk=AAAA$AAAA${DIGEST}=",
    f"$fbscrypt$v=1,n=99,r=8,p=1,ss=,sk=AAAA$AAAA${DIGEST}=",
    "plain text", "$", "$2b$", "5f4dcc3b5aa765d61d8327deb882cf99",
]  # fmt: skip


@pytest.mark.parametrize("hashed", COSTLY)
def test_what_would_cost_too_much_is_not_taken(hashed: str) -> None:
    with pytest.raises(ValueError, match=r"^(is|costs|must|holds) "):
        foreign_passwords.require_taken(hashed)
    if foreign_passwords.is_foreign(hashed):
        assert foreign_passwords.matches(hashed, "password") is False


@pytest.mark.parametrize("form", KNOWN)
def test_a_decoy_costs_as_much_and_is_nobodys(form: str) -> None:
    hashed, password = KNOWN[form]
    decoy = foreign_passwords.decoy_of(hashed)
    foreign_passwords.require_taken(decoy)
    assert foreign_passwords.decoy_of(decoy) == decoy
    assert not foreign_passwords.matches(decoy, password)
    secret = {"firebase": "jxspr8Ki", "bcrypt": "CCCCCCC"}.get(form, "seasalt")
    assert secret not in decoy


async def test_each_of_a_batch_is_made_or_refused_by_itself(people: People) -> None:
    known = await people.sign_up()
    bcrypt = KNOWN["bcrypt"][0]
    outcomes = await bring(
        people,
        ImportedUser(email="Ann@example.com", password_hash=bcrypt, display_name="Other"),
        ImportedUser(email="not an address"),
        ImportedUser(email="bert@example.com", password_hash="plain"),
        ImportedUser(email="carl@example.com", roles=["user", "admin"]),
        ImportedUser(email="CARL@example.com"),
    )
    assert [o.status for o in outcomes] == ["known", "refused", "refused", "created", "known"]
    assert (outcomes[0].id, outcomes[4].id) == (known.id, outcomes[3].id)
    pointers = [[e.pointer for e in o.errors] for o in outcomes[1:3]]
    assert pointers == [["/users/1/email"], ["/users/2/password_hash"]]
    assert (await people.log_in()).user.display_name == ""  # who is known stays as they are
    again = await bring(people, ImportedUser(email="carl@example.com"))
    assert [o.status for o in again] == ["known"]
    carl = (await people.ask("get_user", caller=SYSTEM, id=outcomes[3].id)).value
    assert carl.roles == ["admin", "user"]
    clerk = Caller("key", "key_1", scopes=frozenset({"users:write"}))
    with pytest.raises(ScopeNotHeld):
        await bring(people, ImportedUser(email="d@example.com", roles=["admin"]), by=clerk)
    with pytest.raises(Invalid):
        await bring(people, ImportedUser(email="d@example.com", roles=["nothing"]))
    (unseen,) = await bring(people, ImportedUser(email="d@example.com"), by=clerk)
    assert (unseen.status, unseen.id) == ("created", None)


async def test_who_nobody_is_costs_what_some_of_them_do(
    people: People, passwords: CountingPasswords, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[str | None] = []
    verify = passwords.verify

    async def noted(
        hashed: str | None, password: str, *, share: str, decoy: str | None = None
    ) -> bool:
        compared.append(hashed or decoy)
        return await verify(hashed, password, share=share, decoy=decoy)

    monkeypatch.setattr(passwords, "verify", noted)
    hashed, _ = KNOWN["pbkdf2"]
    cheaper = hashed.replace("$20000$", "$10000$")
    for at, each in enumerate((hashed, cheaper)):
        await bring(people, ImportedUser(email=f"user{at}@example.com", password_hash=each))
    decoys = {foreign_passwords.decoy_of(each) for each in (hashed, cheaper)}
    strangers = [f"nobody{n}@example.com" for n in range(24)]
    for _ in range(2):
        for email in strangers:
            with pytest.raises(Unauthenticated):
                await people.log_in(email, "a wrong password")
    first, second = compared[: len(strangers)], compared[len(strangers) :]
    assert first == second  # the same each time
    assert set(first) == {None, *decoys}
    monkeypatch.setattr(model, "HASH_SHAPES_MAX", 2)
    third = hashed.replace("$20000$", "$30000$")
    (refused,) = await bring(people, ImportedUser(email="x@example.com", password_hash=third))
    assert (refused.status, refused.errors[0].pointer) == ("refused", "/users/0/password_hash")


def test_lines_that_cannot_be_read_are_told_by_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[Any] = []

    class Running:
        def call(self, method: str, path: str, body: Any) -> Any:
            sent.append((method, path, [user.email for user in body["users"]]))
            outcomes: list[Any] = [{"status": "created"} for _ in body["users"]]
            wrong = {"pointer": "/users/9/email", "detail": "is wrong"}
            outcomes[-1] = {"status": "refused", "errors": [wrong]}
            return {"items": outcomes}

    monkeypatch.setattr("mainspring.cli.users.find_platform", lambda *_: Running())
    lines = [f'{{"email": "u{n}@example.com"}}' for n in range(150)]
    lines[10:10] = ["", "{", '{"email": "a@example.com", "is_admin": true}']
    file = tmp_path / "users.ndjson"
    file.write_text("\n".join(lines))
    run = CliRunner().invoke(app, ["users", "import", str(file)])
    assert run.exit_code == 1
    assert [len(emails) for _, _, emails in sent] == [100, 50]
    assert "148 created, 0 known, 4 refused" in run.stdout
    told = run.stderr.splitlines()
    assert [line.partition(":")[0] for line in told] == [
        "line 12", "line 13", "line 103", "up to line 103", "line 153", "up to line 153",
    ]  # fmt: skip
    assert "/email: is wrong" in told[2]
