"""Settings: layers, sources, masks, and one clear line for whatever is wrong."""

from pathlib import Path
from typing import Annotated, Any

import msgspec
import pytest

from mainspring.app import sections
from mainspring.kernel.masking import Secret, masked
from mainspring.settings import (
    DatabaseSettings,
    Flag,
    QueueSettings,
    Settings,
    SettingsError,
    load,
    settings_files,
)


class Queue(msgspec.Struct, frozen=True):
    concurrency: Annotated[int, msgspec.Meta(ge=1)] = 4
    rate: str | None = None


class Shop(msgspec.Struct, frozen=True):
    name: str = "corner"
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 80
    ratio: float = 0.5
    open: bool = True
    tags: tuple[str, ...] = ("a",)
    api_key: Annotated[str, Secret] = ""
    queues: dict[str, Queue] = msgspec.field(
        default_factory=lambda: {"bulk": Queue(), "critical": Queue(concurrency=8)}
    )

    def __post_init__(self) -> None:
        if self.ratio > 1 and not self.open:
            raise ValueError("a closed shop keeps ratio at most 1")


SECTIONS = {"shop": Shop, "database": DatabaseSettings}


def loaded(tmp_path: Path, toml: str = "", environ: Any = None, flags: Any = ()) -> Settings:
    file = tmp_path / "mainspring.toml"
    file.write_text(toml)
    return load(SECTIONS, files=[file], environ=environ or {}, flags=flags)


def refused(tmp_path: Path, toml: str = "", environ: Any = None, flags: Any = ()) -> str:
    with pytest.raises(SettingsError) as caught:
        loaded(tmp_path, toml, environ, flags)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_each_layer_wins_over_the_one_before(tmp_path: Path) -> None:
    toml = '[shop]\nname = "file"\nport = 1\nratio = 0.1\n'
    environ = {"MAINSPRING_SHOP__PORT": "2", "MAINSPRING_SHOP__RATIO": "0.2"}
    environ |= {"PATH": "/bin", "MAINSPRING_TEST_SEED": "7"}  # neither is a setting
    settings = loaded(tmp_path, toml, environ, [Flag("--ratio", "shop.ratio", 0.3)])
    shop = settings.of(Shop)
    assert (shop.name, shop.port, shop.ratio, shop.open) == ("file", 2, 0.3, True)
    sources = {row.path: row.source for row in settings.shown()}
    assert sources["shop.name"] == "mainspring.toml:2"
    assert sources["shop.port"] == "MAINSPRING_SHOP__PORT"
    assert sources["shop.ratio"] == "--ratio"
    assert sources["shop.open"] == "default"


def test_a_flag_that_was_not_given_changes_nothing(tmp_path: Path) -> None:
    settings = loaded(tmp_path, flags=[Flag("--port", "shop.port", None)])
    assert settings.of(Shop).port == 80


def test_text_of_the_environment_takes_the_type_of_its_field(tmp_path: Path) -> None:
    environ = {
        "MAINSPRING_SHOP__OPEN": "false",
        "MAINSPRING_SHOP__TAGS": "x, y",
        "MAINSPRING_SHOP__NAME": "123",
        "MAINSPRING_SHOP__QUEUES__BULK__RATE": "5/s",
    }
    shop = loaded(tmp_path, environ=environ).of(Shop)
    assert (shop.open, shop.tags, shop.name) == (False, ("x", "y"), "123")
    assert shop.queues["bulk"] == Queue(rate="5/s")
    json = {"MAINSPRING_SHOP__TAGS": '["x, y"]'}
    assert loaded(tmp_path, environ=json).of(Shop).tags == ("x, y",)


def test_a_table_inside_a_section_joins_its_defaults(tmp_path: Path) -> None:
    toml = "[shop.queues.critical]\nrate = '9/m'\n[shop.queues.mine]\nconcurrency = 2\n"
    settings = loaded(tmp_path, toml)
    assert settings.of(Shop).queues == {
        "bulk": Queue(),
        "critical": Queue(concurrency=8, rate="9/m"),
        "mine": Queue(concurrency=2),
    }
    sources = {row.path: row.source for row in settings.shown()}
    assert sources["shop.queues.critical.rate"] == "mainspring.toml:2"
    assert sources["shop.queues.critical.concurrency"] == "default"


@pytest.mark.parametrize(
    ("toml", "environ", "expected"),
    [
        ("[shpo]\nname = 'x'", {}, "mainspring.toml:1: there is no section [shpo]; "
         "did you mean shop?"),
        ("[shop]\nnaem = 'x'", {}, "mainspring.toml:2: [shop] has no key 'naem'; "
         "did you mean name?"),
        ("[shop]\nzzz = 1", {}, "mainspring.toml:2: [shop] has no key 'zzz'; known: "),
        ("[shop]\n\nport = 70000", {}, "mainspring.toml:3: shop.port: Expected `int` <= 65535"),
        ("[shop]\nport = '1'", {}, "mainspring.toml:2: shop.port: Expected `int`, got `str`"),
        ("shop = 1", {}, "mainspring.toml:1: shop is a section: write [shop]"),
        ("port = 1", {}, "mainspring.toml:1: port stands above the [section] it belongs to"),
        ("[shop.name]\nx = 1", {}, "mainspring.toml:2: shop.name is a value, not a table"),
        ("[shop.queues.bulk]\nx = 1", {}, "mainspring.toml:2: [shop.queues.bulk] has no key 'x'"),
        ("[shop", {}, "mainspring.toml: not valid TOML: "),
        ("", {"MAINSPRING_SHOP__PORT": "x"}, "MAINSPRING_SHOP__PORT: shop.port: Expected `int`"),
        ("", {"MAINSPRING_SHOP__PROT": "1"}, "MAINSPRING_SHOP__PROT: [shop] has no key 'prot'; "
         "did you mean port?"),
        ("", {"MAINSPRING_PORT": "1"}, "MAINSPRING_PORT: not a setting; did you mean "
         "MAINSPRING_SHOP__PORT?"),
        ("", {"MAINSPRING_SHOP_PORT": "1"}, "did you mean MAINSPRING_SHOP__PORT?"),
        ("", {"MAINSPRING_SHPO__PORT": "1"}, "there is no section [shpo]; did you mean shop?"),
        ("", {"MAINSPRING_SHOP__QUEUES__BULK__CONCURRENCY": "0"}, "Expected `int` >= 1"),
        ("[shop]\nratio = 2.0\nopen = false", {}, "a closed shop keeps ratio at most 1"),
        ("[database]\nurl = 'mysql://h'", {}, "mainspring.toml:2: [database] url starts with"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_line_with_its_place(
    tmp_path: Path, toml: str, environ: dict[str, str], expected: str
) -> None:
    assert expected in refused(tmp_path, toml, environ)


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        load(SECTIONS, files=[tmp_path / "absent.toml"])


SHOWN = [
    ("postgresql://ann:pw@db:5432/shop", "postgresql://ann:********@db:5432/shop"),
    ("postgresql://ann@db/shop", "postgresql://ann@db/shop"),
    ("postgresql://postgres@/shop?host=%2Frun%2Fpg", "postgresql://postgres@/shop?host=%2Frun%2Fpg"),
    ("postgresql://a:pw@h1:1,[::1]:2/shop", "postgresql://a:********@h1:1,[::1]:2/shop"),
    ("postgresql://db/shop?sslmode=require&password=pw&x=1",
     "postgresql://db/shop?sslmode=require&password=********&x=1"),
    ("postgresql://db/shop?password=p&pw#pw", "postgresql://db/shop?password=********&********"),
    ("postgresql://db/shop?pass%77ord=pw", "postgresql://db/shop?pass%77ord=********"),
    ("postgresql://:pw@db", "postgresql://:********@db"),
    # Nobody knows where these passwords end.
    ("postgresql://ann:p@w@db/shop", "postgresql://********@db/shop"),
    ("postgresql://ann:p/w@db/shop", "postgresql://********@db/shop"),
    ("postgresql://ann:p@w/pw@db/shop", "postgresql://********@db/shop"),
    ("postgresql://ann:p?w@db/shop", "postgresql://********@db/shop"),
    ("postgresql://ann:p#w@db/shop", "postgresql://********@db/shop"),
    ("postgresql://pw/pw@db/shop", "postgresql://********@db/shop"),
    ("postgresql://ann:12/34@db/shop", "postgresql://********@db/shop"),
    ("postgresql://ann:pw", "postgresql://********"),
    ("postgresql://ann:pw/shop", "postgresql://********"),
    ("redis://:p@ss/w0rd@cache:6379/0", "redis://********@cache:6379/0"),
    ("https://ann:p/w@hooks.example/x", "https://********@hooks.example/x"),
    ("https://hooks.example:8443/@ann", "https://hooks.example:8443/@ann"),
    ("hunter2", "********"),
]  # fmt: skip


@pytest.mark.parametrize(("secret", "shown"), SHOWN)
def test_of_a_url_everything_but_the_password_is_shown(secret: str, shown: str) -> None:
    assert masked(secret) == shown
    assert "pw" not in shown.replace("?pass%77ord", "")


@pytest.mark.parametrize(
    "url",
    ["ann:p/w@db/shop", "ann:p?w@db/shop", "ann:p#w@db/shop", "ann:p@ss/w@db/shop", "ann:1/2@db/x",
     "ann:pw", "ann:p@db?w@db/shop", "db/shop#x"],
)  # fmt: skip
def test_a_password_that_breaks_its_url_is_told_without_it(tmp_path: Path, url: str) -> None:
    said = refused(tmp_path, environ={"MAINSPRING_DATABASE__URL": f"postgresql://{url}"})
    assert "write @ as %40, / as %2F" in said
    assert not set(said.split()) & {"w@db", "pw", "ss", "p"}
    assert url not in said


@pytest.mark.parametrize(
    "url", ["", "a:p%40%2F@db:5432/shop?pool=8", "/db?host=%2Frun", "a:p@h1:1,h2:2/x", "[::1]:5/x"]
)
def test_a_url_that_is_well_written_passes(tmp_path: Path, url: str) -> None:
    environ = {"MAINSPRING_DATABASE__URL": f"postgresql://{url}"}
    assert loaded(tmp_path, environ=environ).of(DatabaseSettings).url.endswith(url)


def test_what_kubernetes_sets_beside_a_service_is_no_setting(tmp_path: Path) -> None:
    environ = {
        "MAINSPRING_PORT": "tcp://10.0.0.1:8080",
        "MAINSPRING_SERVICE_HOST": "10.0.0.1",
        "MAINSPRING_SERVICE_PORT": "8080",
        "MAINSPRING_SERVICE_PORT_HTTP": "8080",
        "MAINSPRING_PORT_8080_TCP": "tcp://10.0.0.1:8080",
        "MAINSPRING_PORT_8080_TCP_PROTO": "tcp",
        "MAINSPRING_PORT_8080_TCP_PORT": "8080",
        "MAINSPRING_PORT_8080_TCP_ADDR": "10.0.0.1",
        "MAINSPRING_SHOP_PORT": "tcp://10.0.0.2:80",  # of a Service named mainspring-shop
        "MAINSPRING_SHOP_SERVICE_HOST": "10.0.0.2",
        "MAINSPRING_SHOP__X_PORT": "udp://10.0.0.3:53",  # mainspring-shop--x
    }
    assert loaded(tmp_path, environ=environ).of(Shop) == Shop()


def test_an_apps_own_section_is_left_alone_where_the_app_is_not_at_hand(tmp_path: Path) -> None:
    file = tmp_path / "mainspring.toml"
    file.write_text("[bakery]\novens = 3\n[shop]\nname = 'x'\n")
    environ = {"MAINSPRING_BAKERY__FLOUR": "rye", "MAINSPRING_MILL__STONES": "2"}
    settings = load(SECTIONS, files=[file], environ=environ, others=True)
    assert settings.of(Shop).name == "x"
    assert settings.others == {"bakery": "mainspring.toml:1", "mill": "MAINSPRING_MILL__STONES"}
    file.write_text("[bakery]\n[shop]\nnaem = 'x'\n")
    with pytest.raises(SettingsError, match="did you mean name"):
        load(SECTIONS, files=[file], others=True)
    file.write_text("[bakery]\n")
    with pytest.raises(SettingsError, match=r"no section .bakery"):
        load(SECTIONS, files=[file])


def test_secrets_are_masked(tmp_path: Path) -> None:
    environ = {
        "MAINSPRING_SHOP__API_KEY": "hunter2",
        "MAINSPRING_DATABASE__URL": "postgresql://ann:pw@db:5432/shop",
    }
    shown = {row.path: row.value for row in loaded(tmp_path, environ=environ).shown()}
    assert shown["shop.api_key"] == "********"
    assert shown["database.url"] == "postgresql://ann:********@db:5432/shop"


@pytest.mark.parametrize(
    ("secret", "seen"),
    [
        ("", ""),
        ("s3cret", "********"),
        ("postgresql://db/shop", "postgresql://db/shop"),
        ("postgresql://ann@db/shop", "postgresql://ann@db/shop"),
        (
            "postgresql://db/shop?password=pw&pool_size=4",
            "postgresql://db/shop?password=********&pool_size=4",
        ),
        ("postgresql://ann:p:w@db/shop", "postgresql://ann:********@db/shop"),
        ("postgresql://db/shop?user=ann&password=p@ss", "postgresql://********"),
        ("postgresql://ann:pw/half", "postgresql://********"),
        ("https://ann:/pw@db/shop", "https://********@db/shop"),
    ],
)
def test_a_mask_shows_where_a_url_leads_and_no_password(secret: str, seen: str) -> None:
    assert masked(secret) == seen


def test_which_file_is_read(tmp_path: Path) -> None:
    assert settings_files({}, tmp_path) == []
    usual = tmp_path / "mainspring.toml"
    usual.touch()
    assert settings_files({}, tmp_path) == [usual]
    assert settings_files({"MAINSPRING_CONFIG": "/x.toml"}, tmp_path) == [Path("/x.toml")]
    chosen = Path("/y.toml")
    assert settings_files({"MAINSPRING_CONFIG": "/x.toml"}, tmp_path, chosen) == [chosen]


def test_an_apps_own_queues_join_the_known_ones(tmp_path: Path) -> None:
    file = tmp_path / "mainspring.toml"
    file.write_text("[queues]\nbulk = 2\n[queues.own]\nreports = 4\n")
    environ = {"MAINSPRING_QUEUES__OWN__LETTERS": "5"}
    settings = load({"queues": QueueSettings}, files=[file], environ=environ)
    assert settings.of(QueueSettings).concurrency == {
        "critical": 32, "default": 64, "bulk": 2, "notifications": 128, "mails": 128,
        "platform": 16, "webhooks": 128, "reports": 4, "letters": 5,
    }  # fmt: skip
    sources = {row.path: row.source for row in settings.shown()}
    assert sources["queues.own.reports"] == "mainspring.toml:4"
    assert sources["queues.own.letters"] == "MAINSPRING_QUEUES__OWN__LETTERS"


def test_a_key_that_moved_says_where_it_is_now() -> None:
    given = {"MAINSPRING_WEBHOOKS__ALLOW_PRIVATE_ADDRESSES": "true"}
    with pytest.raises(SettingsError) as caught:
        load(sections(None), environ=given)
    assert str(caught.value) == (
        "MAINSPRING_WEBHOOKS__ALLOW_PRIVATE_ADDRESSES: 'allow_private_addresses' of [webhooks] is "
        "now 'allow_private_addresses' of [http_client]"
    )
