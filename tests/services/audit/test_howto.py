"""The page about verification does what it says."""

import re
from pathlib import Path

import pytest

from tests.services.log_platform import ORIGIN, LogPlatform

PAGE = Path(__file__).parents[3] / "docs/howto/verify-the-audit-log.md"


async def test_the_verifier_on_the_page_verifies(platform_server, tmp_path, monkeypatch):
    async with LogPlatform.over(platform_server) as platform:
        await platform.write(300)
        with (tmp_path / "audit.ndjson").open("wb") as out:
            await platform.export(out)
    (program,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(program, {})
    text = (tmp_path / "audit.ndjson").read_bytes()
    (tmp_path / "audit.ndjson").write_bytes(text.replace(b'"text 7"', b'"text 8"', 1))
    with pytest.raises(AssertionError):
        exec(program, {})
    assert ORIGIN.encode() in text
