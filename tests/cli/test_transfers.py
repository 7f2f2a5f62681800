"""Files in and out by the command line: whole or not at all, through connections that break."""

import asyncio
import io
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest

from mainspring import testing
from mainspring.cli import EXIT_FOUND, EXIT_INTERRUPTED, EXIT_START, EXIT_USAGE, main, patience
from mainspring.cli import transfers as command
from mainspring.cli.whole_records import Cutter
from mainspring.services.records.operations import exports

NOTES = "/v1/collections/notes/records"
FIELDS = [
    {"name": "slug", "type": "text", "max": 50, "unique": True},
    {"name": "count", "type": "integer", "min": 0},
    {"name": "text", "type": "text"},
]
TEXTS = ["", 'a "quoted", one', "line\r\nbreak,\r\n\r\n", "ä", '"', "\n"]


class Shell:
    """Runs the command line against a platform, from a directory of its own."""

    def __init__(
        self,
        platform: testing.Platform,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        self.platform = platform
        self.url = platform.url
        self.out = self.err = ""
        self._monkeypatch, self._capsys = monkeypatch, capsys

    async def run(self, *arguments: str) -> int:
        where = ("--url", self.url, "--key-file", str(self.platform.app.data_dir / "admin.key"))
        self._monkeypatch.setattr(sys, "argv", ["mainspring", *arguments, *where])
        self._capsys.readouterr()
        code = await asyncio.to_thread(_ended)
        self.out, self.err = self._capsys.readouterr()
        return code

    async def fill(self, count: int) -> None:
        await self.platform.admin.post("/v1/collections", {"name": "notes", "fields": FIELDS})
        made = [{"slug": f"s{n}", "count": n, "text": TEXTS[n % 6]} for n in range(count)]
        if not count:
            return
        items = [{"action": "create", "data": data} for data in made]
        (await self.platform.admin.post(f"{NOTES}:batch", {"items": items})).expect(200)

    async def exported(self, format: str) -> bytes:
        return (await self.platform.admin.get(f"{NOTES}:export?format={format}")).body


def _ended() -> int:
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


@pytest.fixture
async def shell(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> AsyncIterator[Shell]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(patience, "FIRST_WAIT_S", 0.0)
    monkeypatch.setattr(command, "POLL_S", 0.01)
    async with testing.Platform(sockets=True, running=True) as platform:
        yield Shell(platform, monkeypatch, capsys)


@asynccontextmanager
async def breaking(url: str, *lives_bytes: int, up: bool = False) -> AsyncIterator[str]:
    """Stand between: each connection ends after so many bytes of answer (``up``: of request)."""
    left, where = list(lives_bytes), urlsplit(url)

    async def carry(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter, most: int | None
    ) -> None:
        while chunk := await reader.read(4_096):
            chunk = chunk if most is None else chunk[:most]
            most = None if most is None else most - len(chunk)
            writer.write(chunk)
            await writer.drain()
            if most == 0:
                break

    async def stand(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        life = left.pop(0) if left else None
        there, back = await asyncio.open_connection(where.hostname, where.port)
        ways = [
            asyncio.create_task(carry(reader, back, life if up else None)),
            asyncio.create_task(carry(there, writer, None if up else life)),
        ]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        for end in (back, writer):
            end.transport.abort() if life is not None else end.close()

    server = await asyncio.start_server(stand, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"


async def test_what_is_exported_comes_back(shell: Shell) -> None:
    await shell.fill(30)
    for format in ("csv", "ndjson", "json"):
        assert await shell.run("export", "notes", f"all.{format}") == 0, shell.err
        assert Path(f"all.{format}").read_bytes() == await shell.exported(format)
        assert f"wrote all.{format}: 30 records" in shell.out
    assert Path("all.csv").stat().st_mode & 0o077 == 0
    assert [path.name for path in Path.cwd().glob("*.part")] == []


async def test_some_fields_of_some_go_to_standard_output(shell: Shell) -> None:
    await shell.fill(9)
    some = ("export", "notes", "--filter", "record.count > 6", "--fields")
    assert await shell.run(*some, "count") == 0
    assert shell.out == '{"count":7}\n{"count":8}\n'
    assert await shell.run(*some, "text,count", "-", "--format", "csv") == 0
    told = 'text,count\r\n"a ""quoted"", one",7\r\n"line\r\nbreak,\r\n\r\n",8\r\n'
    assert shell.out == told
    assert await shell.run("export", "notes", "none.json", "--filter", "record.count > 100") == 0
    assert json.loads(Path("none.json").read_bytes()) == []


async def test_an_export_goes_on_through_a_connection_that_breaks(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "PAGE_ROWS", 7)
    await shell.fill(60)
    # The first answer is the count of what there is.
    for format in ("csv", "ndjson", "json"):
        async with breaking(shell.platform.url, 9_999, 900, 1_500, 400, 2_000) as shell.url:
            assert await shell.run("export", "notes", f"all.{format}") == 0, shell.err
        assert "again in" in shell.err
        assert Path(f"all.{format}").read_bytes() == await shell.exported(format)
    async with breaking(shell.platform.url, 9_999, 700, 700) as shell.url:
        assert await shell.run("export", "notes", "some.ndjson", "--fields", "slug") == 0
    told = Path("some.ndjson").read_text().splitlines()
    assert told == [f'{{"slug":"s{n}"}}' for n in range(60)]


async def test_one_that_was_given_up_goes_on_by_the_same_command(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "ATTEMPTS_MAX", 1)
    monkeypatch.setattr(exports, "PAGE_ROWS", 7)
    await shell.fill(60)
    for format in ("csv", "ndjson", "json"):
        file = f"all.{format}"
        async with breaking(shell.platform.url, 9_999, 4_000, 150) as shell.url:
            assert await shell.run("export", "notes", file) == EXIT_START
            (part,) = Path.cwd().glob(f"{file}.*.part")
            assert part.name in shell.err
            assert not Path(file).exists()
            with part.open("ab") as torn:  # as a crash leaves it
                torn.write({"csv": b'rec_0,"half', "ndjson": b'{"id":"re'}.get(format, b',\n{"id"'))
            assert await shell.run("export", "notes", file) == 0, shell.err
        assert Path(file).read_bytes() == await shell.exported(format)
        assert not part.exists()
    Path("other.csv").touch()
    assert await shell.run("export", "notes", "other.csv") == EXIT_START


async def test_an_import_tells_what_was_refused_and_where(shell: Shell) -> None:
    await shell.fill(2)
    rows = [f"n{n},{n if n % 20 else -1},x" for n in range(300)]
    Path("notes.csv").write_text("\n".join(["slug,count,text", *rows]))
    assert await shell.run("import", "notes", "notes.csv", "--errors", "e.csv") == EXIT_FOUND
    assert shell.out == "285 imported, 15 refused\n"
    assert shell.err.splitlines()[1] == "line 22: /count: Expected `int` >= 0"
    assert shell.err.splitlines()[10] == "and 5 more: e.csv has them"
    refused = Path("e.csv").read_text().splitlines()
    assert refused[2] == "22,,invalid,/count,Expected `int` >= 0"
    assert len(refused) == 16
    shell_in = SimpleNamespace(buffer=io.BytesIO(b'{"slug":"s0","count":7}\n'))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys, "stdin", shell_in)
        by = ("--by", "slug", "--format", "ndjson")
        assert await shell.run("import", "notes", "-", *by) == 0, shell.err
    changed = (await shell.platform.admin.get(f"{NOTES}?limit=1&fields=slug,count")).expect(200)
    assert changed["items"] == [{"slug": "s0", "count": 7}]
    Path("cut.json").write_text('[{"slug": "x1"}, {"slug": ')
    assert await shell.run("import", "notes", "cut.json") == EXIT_FOUND
    assert (
        shell.out
        == "failed after 1 imported, 0 refused: line 2: does not end: the file is cut off\n"
    )


async def test_a_file_that_is_sent_again_is_imported_once(shell: Shell) -> None:
    await shell.fill(0)
    size = 3_000
    Path("n.ndjson").write_text("".join(f'{{"text":"{n:090}"}}\n' for n in range(size)))
    # One breaks while it is sent, one when all of it is there and before the answer is.
    async with breaking(shell.platform.url, 100_000, up=True) as shell.url:
        assert await shell.run("import", "notes", "n.ndjson") == 0, shell.err
    assert shell.out == f"{size:,} imported, 0 refused\n"
    async with breaking(shell.platform.url, 1) as shell.url:
        assert await shell.run("import", "notes", "n.ndjson") == 0, shell.err
    assert "again in" in shell.err
    total = (await shell.platform.admin.get(f"{NOTES}?total=exact&limit=1")).expect(200)["total"]
    assert total == 2 * size


async def test_who_leaves_finds_it_again(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    await shell.fill(0)
    Path("n.ndjson").write_text('{"text":"a"}\n' * 2_000)

    def leave(_: float) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(command.time, "sleep", leave)
        assert await shell.run("import", "notes", "n.ndjson") == EXIT_INTERRUPTED
    run = shell.err.partition("--resume ")[2].split()[0]
    assert await shell.run("import", "--resume", run) == 0
    assert shell.out == "2,000 imported, 0 refused\n"


async def test_what_is_wrong_is_said_at_once(shell: Shell) -> None:
    await shell.fill(1)
    Path("big.csv").write_bytes(b"slug\n" * (14 << 20))
    for arguments, code, told in [
        (("export", "nothing", "x.csv"), EXIT_START, "404 not_found: no such collection"),
        (("export", "notes", "x.xls"), EXIT_USAGE, "--format"),
        (("export", "notes", "--format", "json"), EXIT_USAGE, "FILE"),
        (("import", "notes", "absent.csv"), EXIT_START, "absent.csv"),
        (("import", "notes", "big.csv", "--by", "x"), EXIT_START, "no unique field 'x'"),
        (
            ("import", "notes", "big.csv"),
            EXIT_START,
            "413 body_too_large: the file to import has at most",
        ),
        (("import", "notes"), EXIT_USAGE, "--resume RUN_ID"),
        (("import", "--resume", "run_x"), EXIT_START, "no such run"),
    ]:
        assert await shell.run(*arguments) == code, arguments
        assert told in shell.err, arguments
    shell.url = "http://127.0.0.1:1"
    assert await shell.run("import", "notes", "big.csv") == EXIT_START
    assert "again in" not in shell.err
    assert list(Path.cwd().iterdir()) == [Path.cwd() / "big.csv"]


@pytest.mark.parametrize("size", [1, 7, 1_000])
def test_whole_records_are_cut_out_of_any_pieces(size: int) -> None:
    row = b'rec_1,"a ""b""\r\nc",\r\n'
    text = b"id,text,more\r\n" + row * 5
    cutter = Cutter("csv", hide_id=True)
    found = [cut for at in range(0, len(text), size) for cut in cutter.feed(text[at : at + size])]
    assert found == [b"text,more\r\n", *[b'"a ""b""\r\nc",\r\n'] * 5]
    assert (cutter.count, cutter.last_id) == (5, "rec_1")
    cutter.begin_again()
    with pytest.raises(patience.StartError, match="other fields"):
        cutter.feed(b"id,text\r\n")
