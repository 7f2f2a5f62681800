"""Real Kafka brokers for tests, from the jars that ``make test-all`` fetches: KRaft, loopback."""

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

from mainspring.testing.servers.places import (
    START_TIMEOUT_S,
    STARTED,
    free_ports,
    private_directory,
)

JARS = Path(".tools/kafka")
_HEAP_MB = 256
# Standard input closes when the test process ends, however it ends: then the broker goes too.
_KEEPER = 'd=$1; shift; "$@" >"$d/log" 2>&1 & read -r _; kill -9 $!; wait $!'


class KafkaServer:
    """A cluster of so many brokers that are controllers too, each a process of its own.

    With a ``login``, a name and a password, clients have to have it (SASL, PLAIN).
    """

    def __init__(
        self, jars: Path, brokers: int = 1, *, login: tuple[str, str] | None = None
    ) -> None:
        self._login = "" if login is None else "{}:{}@".format(*login)
        self.directory = private_directory("mainspring-kafka-")
        self._java = [
            "java", f"-Xmx{_HEAP_MB}m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", f"{jars}/*",
        ]  # fmt: skip
        self.version = next(jars.glob("kafka_*.jar")).stem.rpartition("-")[2]
        ports = free_ports(2 * brokers)
        self._ports = ports[:brokers]
        voters = [f"{n}@127.0.0.1:{port}" for n, port in enumerate(ports[brokers:], 1)]
        cluster = self._tool("random-uuid").strip().splitlines()[-1]
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        for number in range(1, brokers + 1):
            place = self.directory / str(number)
            place.mkdir()
            settings = _settings(
                number, self._ports[number - 1], ports[brokers + number - 1], place
            )
            settings |= {} if login is None else _login(*login)
            settings |= _replication(brokers) | {"controller.quorum.voters": ",".join(voters)}
            file = place / "server.properties"
            file.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
            self._tool("format", "-t", cluster, "-c", str(file))
        for number in range(1, brokers + 1):
            self._spawn(number)
        for number in range(1, brokers + 1):
            self._wait(number)
        STARTED.add(f"Kafka {self.version}")

    def url(self, prefix: str, **options: object) -> str:
        """Return the URL of a bus with topics of its own."""
        hosts = ",".join(f"127.0.0.1:{port}" for port in self._ports)
        query = "&".join(f"{name}={value}" for name, value in options.items())
        return f"kafka://{self._login}{hosts}/{prefix}?{query}"

    def start(self, number: int = 1) -> None:
        """Start a broker again. Returns when it takes connections."""
        self._spawn(number)
        self._wait(number)

    def _spawn(self, number: int) -> None:
        place = self.directory / str(number)
        arguments = [*self._java, "kafka.Kafka", str(place / "server.properties")]
        self._processes[number] = subprocess.Popen(  # noqa: S603 -- our own script and paths
            ["/bin/sh", "-c", _KEEPER, "sh", str(place), *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True, cwd=place,
        )  # fmt: skip

    def _wait(self, number: int) -> None:
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while not _listens(self._ports[number - 1]):
            if time.monotonic() > deadline_s or self._processes[number].poll() is not None:
                log = (self.directory / str(number) / "log").read_text(errors="replace")
                raise RuntimeError(f"Kafka does not start: {log[-2_000:]}")
            time.sleep(0.05)

    def kill(self, number: int = 1) -> None:
        """Kill a broker with SIGKILL. Returns when it is gone; its files stay."""
        self._processes.pop(number).communicate(timeout=START_TIMEOUT_S)

    def freeze(self, number: int = 1) -> None:
        """Stop a broker where it stands: connections stay, and nothing answers."""
        os.killpg(self._processes[number].pid, signal.SIGSTOP)

    def thaw(self, number: int = 1) -> None:
        """Let a frozen broker go on."""
        os.killpg(self._processes[number].pid, signal.SIGCONT)

    def close(self) -> None:
        """Stop at once and remove every file."""
        for number in [*self._processes]:
            self.kill(number)
        shutil.rmtree(self.directory)

    def _tool(self, *arguments: str) -> str:
        done = subprocess.run(  # noqa: S603 -- our own paths
            [*self._java, "kafka.tools.StorageTool", *arguments],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True,
            timeout=START_TIMEOUT_S,
        )  # fmt: skip
        return done.stdout


def kafka_jars() -> Path | None:
    """Where Kafka's jars are, or None where they, or Java, are not."""
    jars = Path(os.environ.get("MAINSPRING_TEST_KAFKA") or JARS).resolve()
    return jars if shutil.which("java") and any(jars.glob("kafka_*.jar")) else None


def _settings(number: int, port: int, control: int, place: Path) -> dict[str, object]:
    return {
        "process.roles": "broker,controller",
        "node.id": number,
        "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{control}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}",
        "controller.listener.names": "CONTROLLER",
        "log.dirs": place / "logs",
        "group.initial.rebalance.delay.ms": 0,
        "auto.create.topics.enable": "false",
        "broker.session.timeout.ms": 3_000,
        "broker.heartbeat.interval.ms": 500,
        "controller.quorum.election.timeout.ms": 500,
        "controller.quorum.fetch.timeout.ms": 1_000,
    }


def _login(name: str, password: str) -> dict[str, object]:
    module = "org.apache.kafka.common.security.plain.PlainLoginModule"
    return {
        "listener.security.protocol.map": "PLAINTEXT:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "PLAINTEXT",
        "sasl.enabled.mechanisms": "PLAIN",
        "sasl.mechanism.inter.broker.protocol": "PLAIN",
        "listener.name.plaintext.plain.sasl.jaas.config": f'{module} required username="{name}" '
        f'password="{password}" user_{name}="{password}";',
    }


def _replication(brokers: int) -> dict[str, object]:
    copies, kept = min(3, brokers), max(1, min(3, brokers) - 1)
    return {
        "offsets.topic.replication.factor": copies,
        "transaction.state.log.replication.factor": copies,
        "transaction.state.log.min.isr": kept,
        "share.coordinator.state.topic.replication.factor": copies,
        "share.coordinator.state.topic.min.isr": kept,
    }


def _listens(port: int) -> bool:
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0
