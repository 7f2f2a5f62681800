"""defaults.toml is the reference: it equals the structs, explains every key, and can be used."""

import tomllib
from importlib.resources import files
from pathlib import Path

import msgspec

from mainspring.app import sections
from mainspring.settings import load

TEXT = files("mainspring").joinpath("defaults.toml").read_text()


def test_the_file_equals_the_structs() -> None:
    defaults = msgspec.json.encode({name: kind() for name, kind in sections(None).items()})
    assert tomllib.loads(TEXT) == msgspec.json.decode(defaults)


def test_every_key_is_explained_above_it() -> None:
    lines = TEXT.splitlines()
    keys = [i for i, line in enumerate(lines) if " = " in line and not line.startswith("#")]
    bare = [lines[i] for i in keys if not lines[i - 1].startswith("# ")]
    assert bare == []


def test_the_file_is_a_valid_settings_file(tmp_path: Path) -> None:
    file = tmp_path / "mainspring.toml"
    file.write_text(TEXT)
    settings = load(sections(None), files=[file])
    assert settings.sections == load(sections(None)).sections
