"""A real OpenSearch for tests, from the jars that ``make test-all`` fetches: one node, loopback."""

import os
import re
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

from mainspring.testing.servers.places import (
    START_TIMEOUT_S,
    STARTED,
    free_ports,
    private_directory,
)

JARS = Path(".tools/opensearch")
JAVA_MIN = 21
_HEAP_MB = 256
_MAIN = """
import org.codelibs.opensearch.runner.OpenSearchRunner;
public class Main { public static void main(String[] a) throws Exception {
  OpenSearchRunner r = new OpenSearchRunner();
  r.onBuild((n, s) -> { s.put("http.port", a[0]); s.put("network.host", "127.0.0.1");
    s.put("discovery.type", "single-node");
    s.put("cluster.routing.allocation.disk.threshold_enabled", false); });
  r.build(OpenSearchRunner.newConfigs().basePath(a[1]).numOfNode(1).clusterName("test"));
  Thread.currentThread().join(); } }
"""
# Standard input closes when the test process ends, however it ends: then the node goes too.
_KEEPER = 'd=$1; shift; "$@" >"$d/log" 2>&1 & read -r _; kill -9 $!; wait $!'


class OpenSearchServer:
    """One node, without a login."""

    def __init__(self, jars: Path) -> None:
        java = _java()
        assert java is not None
        self.directory = private_directory("mainspring-opensearch-")
        (self.directory / "Main.java").write_text(_MAIN)
        self._command = [
            java, f"-Xms{_HEAP_MB}m", f"-Xmx{_HEAP_MB}m", "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1", "-cp", f"{jars}/*", str(self.directory / "Main.java"),
        ]  # fmt: skip
        self.version = next(jars.glob("opensearch-core-*.jar")).stem.rpartition("-")[2]
        (self._port,) = free_ports(1)
        self._process: subprocess.Popen[bytes] | None = None
        self.start()
        STARTED.add(f"OpenSearch {self.version}")

    def url(self) -> str:
        """Return the URL of a search engine there."""
        return f"opensearch+plain://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Start it, again too. Returns when it answers and has its shards."""
        arguments = [*self._command, str(self._port), str(self.directory / "data")]
        self._process = subprocess.Popen(  # noqa: S603 -- our own script and paths
            ["/bin/sh", "-c", _KEEPER, "sh", str(self.directory), *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True, cwd=self.directory,
        )  # fmt: skip
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while not self._answers():
            if time.monotonic() > deadline_s or self._process.poll() is not None:
                log = (self.directory / "log").read_text(errors="replace")
                raise RuntimeError(f"OpenSearch does not start: {log[-2_000:]}")
            time.sleep(0.1)

    def _answers(self) -> bool:
        url = f"http://127.0.0.1:{self._port}/_cluster/health?wait_for_status=yellow&timeout=1s"
        try:
            with urllib.request.urlopen(url, timeout=2) as answer:
                return bool(answer.status == 200)
        except (OSError, urllib.error.HTTPError):
            return False

    def kill(self) -> None:
        """Kill it with SIGKILL. Returns when it is gone; its files stay."""
        if self._process is not None:
            self._process.communicate(timeout=START_TIMEOUT_S)
            self._process = None

    def freeze(self) -> None:
        """Stop it where it stands: connections stay, and nothing answers."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGCONT)

    def close(self) -> None:
        """Stop at once and remove every file."""
        self.kill()
        shutil.rmtree(self.directory)


def opensearch_jars() -> Path | None:
    """Where OpenSearch's jars are, or None where they, or a Java that runs them, are not."""
    jars = Path(os.environ.get("MAINSPRING_TEST_OPENSEARCH") or JARS).resolve()
    there = any(jars.glob("opensearch-core-*.jar")) and _java() is not None
    return jars if there else None


def _java() -> str | None:
    """The first Java that is new enough: the one that is called so, or one beside it."""
    beside = sorted(str(path) for path in Path("/usr/lib/jvm").glob("*/bin/java"))
    found = [path for path in (shutil.which("java"), *beside) if path is not None]
    return next((path for path in found if _version(path) >= JAVA_MIN), None)


def _version(java: str) -> int:
    said = subprocess.run(  # noqa: S603 -- a program of the machine
        [java, "-version"], capture_output=True, text=True, check=False, timeout=START_TIMEOUT_S
    ).stderr
    found = re.search(r'version "(\d+)', said)
    return int(found[1]) if found else 0
