"""Where a Kafka bus is, by its URL, and its topic, made where there is none."""

import asyncio
import ssl
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import structlog
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.conn import collect_hosts, create_conn
from aiokafka.errors import (
    AuthenticationFailedError,
    AuthenticationMethodNotSupported,
    BrokerResponseError,
    KafkaError,
    TopicAlreadyExistsError,
    for_code,
)

from mainspring.kernel.event import EVENT_BYTES_MAX
from mainspring.ports.database import StartError

log = structlog.get_logger()

TOPIC = "events.core"
PARTITIONS = 12
RETENTION_DAYS = 7
REPLICAS = 3  # or as many as there are brokers
MESSAGE_BYTES_MAX = EVENT_BYTES_MAX + (48 << 10)  # with headers, under the broker's own bound
EVENT_MESSAGE_BYTES = EVENT_BYTES_MAX + (32 << 10)  # that one event needs, with its headers
REQUEST_TIMEOUT_MS = 10_000
KNOWN_S = 0.05
_MS_PER_DAY = 86_400_000
_PROTOCOLS = ("plaintext", "ssl", "sasl_plaintext", "sasl_ssl")
_MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
_OPTIONS = ("partitions", "replicas", "retention_days", "security", "mechanism", "cafile")


class KafkaTarget:
    """What a bus URL says: ``kafka://USER:PASSWORD@HOST:PORT,HOST:PORT/PREFIX?security=sasl_ssl``.

    The topic is ``PREFIX.events.core``, or ``events.core`` without a prefix. Raises StartError.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        user, _, hosts = parts.netloc.rpartition("@")
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        self._named = query.keys()
        if unknown := sorted(query.keys() - set(_OPTIONS)):
            raise StartError(f"bus url: no option {unknown[0]!r}; there are {', '.join(_OPTIONS)}")
        if not hosts:
            raise StartError("bus url: which brokers? Write kafka://HOST:PORT")
        prefix = parts.path.strip("/")
        self.topic = f"{prefix}.{TOPIC}" if prefix else TOPIC
        self.brokers = hosts.split(",")
        self.partitions = _number(query, "partitions", PARTITIONS)
        self.replicas = _number(query, "replicas", REPLICAS)
        self.retention_days = _number(query, "retention_days", RETENTION_DAYS)
        name, _, password = user.partition(":")
        security = query.get("security", "sasl_ssl" if user else "plaintext")
        mechanism = query.get("mechanism", "PLAIN")
        if security not in _PROTOCOLS:
            raise StartError(f"bus url: security is {', '.join(_PROTOCOLS)}, not {security!r}")
        if mechanism not in _MECHANISMS:
            raise StartError(f"bus url: mechanism is {', '.join(_MECHANISMS)}, not {mechanism!r}")
        self.options: dict[str, Any] = {
            "bootstrap_servers": self.brokers,
            "client_id": "mainspring",
            "security_protocol": security.upper(),
            "request_timeout_ms": REQUEST_TIMEOUT_MS,
        }
        if security.startswith("sasl"):
            self.options |= {
                "sasl_mechanism": mechanism,
                "sasl_plain_username": unquote(name),
                "sasl_plain_password": unquote(password),
            }
        if security.endswith("ssl"):
            try:
                self.options["ssl_context"] = ssl.create_default_context(cafile=query.get("cafile"))
            except OSError as error:
                raise StartError(f"bus url: cafile: {error.strerror or error}") from error

    async def ensure_topic(self) -> int:
        """Make the topic if there is none; return how many partitions it has.

        A topic that is there stays as it is. Raises StartError where that would lose events, or is
        not what the URL says; KafkaError.
        """
        admin = AIOKafkaAdminClient(**self.options)
        await admin.start()
        try:
            found = await admin.list_topics()
            if self.topic not in found:
                brokers = len((await admin.describe_cluster())["brokers"])
                await self._make(admin, min(self.replicas, brokers))
            else:
                await self._require_fit(admin)
            async with asyncio.timeout(REQUEST_TIMEOUT_MS / 1000):
                while True:  # a new topic is known to every broker a moment later
                    (described,) = await admin.describe_topics([self.topic])
                    if partitions := described["partitions"]:
                        return len(partitions)
                    await asyncio.sleep(KNOWN_S)
        finally:
            await admin.close()

    async def describe(self) -> str:
        """Say how many brokers there are, and what the topic is. Raises KafkaError."""
        admin = AIOKafkaAdminClient(**self.options)
        try:
            await admin.start()
            brokers = len((await admin.describe_cluster())["brokers"])
            if self.topic in await admin.list_topics():
                (described,) = await admin.describe_topics([self.topic])
                topic = f"partitions: {len(described['partitions'])}"
            else:
                topic = "not there yet, the first start makes it"
        finally:
            await admin.close()
        return f"Kafka, brokers: {brokers}; {self.topic}: {topic}"

    async def raise_refusal(self, error: BaseException) -> None:
        """Raise StartError where a broker will not have us; return where it is just away."""
        if (refusal := await self._refusal(error)) is not None:
            places = ", ".join(self.brokers)
            raise StartError(f"the bus at {places} refuses us: {why(refusal)}") from error

    async def _refusal(self, error: BaseException) -> KafkaError | None:
        """Return what a broker answered that is final.

        Of a login that was not taken the client says only that nobody was reached.
        """
        if isinstance(error, BrokerResponseError):
            return None if error.retriable else error
        names = ("client_id", "request_timeout_ms", "security_protocol", "ssl_context",
                 "sasl_mechanism", "sasl_plain_username", "sasl_plain_password")  # fmt: skip
        options = {name: self.options[name] for name in names if name in self.options}
        asks = self.options["security_protocol"].startswith("SASL")
        for host, port, _ in collect_hosts(self.brokers) if asks else ():
            try:
                (await create_conn(host, port, **options)).close()
            except (AuthenticationFailedError, AuthenticationMethodNotSupported) as refused:
                return refused
            except BrokerResponseError as refused:
                return None if refused.retriable else refused
            except (KafkaError, OSError, TimeoutError):
                continue
        return None

    async def _require_fit(self, admin: AIOKafkaAdminClient) -> None:
        asked = ConfigResource(ConfigResourceType.TOPIC, self.topic)
        (answer,) = await admin.describe_configs([asked])
        ((code, said, _, _, entries),) = answer.resources
        (described,) = await admin.describe_topics([self.topic])
        if code:  # who may write need not be allowed to ask
            log.warning("kafka_topic_not_checked", topic=self.topic, error=said or code)
            return
        has = {name: value for name, value, *_ in entries}
        wrong = []
        if "compact" in has["cleanup.policy"]:
            wrong.append("cleanup.policy is compact, which takes out all but the last of a key; "
                         "it is to be delete")  # fmt: skip
        if int(has["max.message.bytes"]) < EVENT_MESSAGE_BYTES:
            wrong.append(f"max.message.bytes is {has['max.message.bytes']}, and an event may have "
                         f"{EVENT_MESSAGE_BYTES}")  # fmt: skip
        partitions, retention_ms = len(described["partitions"]), self.retention_days * _MS_PER_DAY
        if "partitions" in self._named and partitions != self.partitions:
            wrong.append(f"it has {partitions} partitions, and the URL says {self.partitions}")
        if "retention_days" in self._named and int(has["retention.ms"]) != retention_ms:
            wrong.append(f"retention.ms is {has['retention.ms']}, and the URL says {retention_ms}")
        if wrong:
            raise StartError(
                f"the topic {self.topic} does not fit: {'; '.join(wrong)}. Change the topic, or "
                "the URL"
            )

    async def _make(self, admin: AIOKafkaAdminClient, replicas: int) -> None:
        wanted = NewTopic(
            self.topic,
            self.partitions,
            replicas,
            topic_configs={
                # What is old in the log is new on the bus, and is kept as long as all else; and
                # clocks that differ from the broker's keep nothing from being published.
                "message.timestamp.type": "LogAppendTime",
                "retention.ms": str(self.retention_days * _MS_PER_DAY),
                "cleanup.policy": "delete",
                "min.insync.replicas": str(max(1, replicas - 1)),
                "max.message.bytes": str(MESSAGE_BYTES_MAX),
            },
        )
        answer = await admin.create_topics([wanted])
        for _, code, *said in answer.topic_errors:
            kind = for_code(code)
            if code and kind is not TopicAlreadyExistsError:  # another process was first
                raise kind(*said)
        log.info(
            "kafka_topic_made", topic=self.topic, partitions=self.partitions, replicas=replicas
        )


def why(error: BaseException) -> str:
    """Say what went wrong, as a person would look it up."""
    text = str(error) or type(error).__name__
    return text if isinstance(error, KafkaError) else f"{type(error).__name__}: {text}"


def _number(query: dict[str, str], name: str, default: int) -> int:
    text = query.get(name, str(default))
    if not text.isdecimal() or not 1 <= int(text) <= 10_000:
        raise StartError(f"bus url: {name} is a number from 1 to 10,000, not {text!r}")
    return int(text)
