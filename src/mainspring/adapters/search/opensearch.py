"""Search in OpenSearch: over its REST interface, one index with one primary shard for each.

A document is written with ``external_gte``: an older version is refused, the same again is not.
What is deleted becomes a document without words, since OpenSearch forgets deletions after a minute.
The position is a document too, written after what it stands for. Nothing is made by writing to it:
writes go through an alias that has to be there.

OpenSearch shows what was written with its next refresh. Who has to see it waits for that with a
write of its own (``refresh=wait_for``), and those who wait for one index at a time wait together.
"""

import asyncio
import base64
import ssl
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import aiohttp
import msgspec

from mainspring.kernel.errors import Unavailable
from mainspring.kernel.lru_cache import LruCache
from mainspring.kernel.search_terms import Term
from mainspring.ports.database import StartError
from mainspring.ports.opening import SYSTEM_SOURCES, Sources
from mainspring.ports.search import QUERY_S, Hit, IndexChange, NoIndex, SearchQuery, TooCommon

BULK_BYTES_MAX = 5 << 20
REFRESH = "200ms"
TIMEOUT_S = 10.0  # of one request
CONNECT_S = 3.0
CONNECTIONS_MAX = 32
TRIES = 4  # of what is refused for want of room (429), with a longer pause before each
PAUSE_S = 0.1
SEEN_MAX = 10_000  # indexes of which this process knows how far they show

_POSITION, _LOOK = "~position", "~look"
_BUSY = (429, 503)


def open(url: str, sources: Sources = SYSTEM_SOURCES) -> "OpenSearch":
    """Open ``opensearch://user:password@host:9200/prefix?replicas=1&ca=FILE``. Raises StartError.

    ``opensearch+plain://`` is without TLS.
    """
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    if unknown := sorted(options.keys() - {"replicas", "ca"}):
        raise StartError(f"[search] url: {unknown[0]} is not known: replicas and ca are")
    replicas, prefix = options.get("replicas", "1"), parts.path.strip("/") or "mainspring"
    if not (replicas.isascii() and replicas.isdigit() and int(replicas) <= 10):
        raise StartError("[search] url: replicas is a number from 0 to 10")
    if not prefix.replace("-", "").replace("_", "").isalnum() or prefix != prefix.lower():
        raise StartError(
            "[search] url: behind the host stands a prefix of small letters and digits"
        )
    try:
        place = f"{parts.hostname}:{parts.port or 9200}"
    except ValueError:
        raise StartError("[search] url: its port is none") from None
    if not parts.hostname:
        raise StartError("[search] url: which host? Write opensearch://host:9200")
    plain = parts.scheme == "opensearch+plain"
    login: dict[str, str] = {}
    if parts.username is not None:
        named = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        login = {"authorization": f"Basic {base64.b64encode(named.encode()).decode()}"}
    return OpenSearch(
        f"{'http' if plain else 'https'}://{place}", prefix, login,
        replicas=int(replicas), trust=None if plain else _trust(options.get("ca")),
    )  # fmt: skip


def _trust(ca: str | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca)
    except OSError as error:
        raise StartError(f"[search] url: ca: {ca} cannot be read: {error}") from error


class _Answer(msgspec.Struct, frozen=True):
    status: int
    body: Any

    @property
    def missing(self) -> bool:
        """Whether there is no such index, or alias."""
        return self.status == 404 and "index_not_found" in str(self.body)

    def told(self) -> str:
        """Say what is wrong, in the words of the server."""
        found = self.body.get("error", self.body) if isinstance(self.body, dict) else self.body
        reason = found.get("reason", found) if isinstance(found, dict) else found
        return f"{self.status}: {str(reason)[:300]}"


class OpenSearch:
    """Fills the search port."""

    def __init__(
        self,
        base: str,
        prefix: str,
        login: Mapping[str, str],
        *,
        replicas: int,
        trust: ssl.SSLContext | None,
    ) -> None:
        self._base = base
        self._prefix = prefix
        self._login = login
        self._replicas = replicas
        self._trust = trust
        self._away = ""
        self._version = ""
        self._session: aiohttp.ClientSession | None = None
        self._seen: LruCache[str, int] = LruCache(SEEN_MAX)
        self._looks: dict[str, asyncio.Task[int]] = {}

    async def open(self, owner: str) -> None:
        """Connect. One that is away is no reason not to begin; one that refuses us is."""
        self._prefix = f"{self._prefix}-{blake2b(owner.encode(), digest_size=5).hexdigest()}-"
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=CONNECTIONS_MAX, ssl=self._trust or False),
            timeout=aiohttp.ClientTimeout(total=TIMEOUT_S, connect=CONNECT_S),
            headers=self._login,
        )
        try:
            answer = await self._ask("GET", "/")
        except Unavailable:
            return
        if answer.status != 200:
            await self.close()
            raise StartError(f"[search] url: the engine refuses us: {answer.told()}")

    async def close(self) -> None:
        """Let go of the connections."""
        for look in self._looks.values():
            look.cancel()
        if self._session is not None:
            await self._session.close()
            self._session = None

    def away(self) -> str:
        """Say why it could not be asked a moment ago."""
        return self._away

    def version(self) -> str:
        """Name the server, once it has answered."""
        return self._version

    async def make(self, index: str, fields: Sequence[str]) -> None:
        """Make an index; one that is there is left as it is."""
        text = {"type": "text", "analyzer": "whitespace"}
        body = {
            "settings": {
                "number_of_shards": 1,
                "number_of_replicas": self._replicas,
                "refresh_interval": REFRESH,
            },
            "mappings": {
                "dynamic": False,
                "_source": {"includes": ["position"]},
                "properties": {
                    "id": {"type": "keyword"},
                    "position": {"type": "long", "index": False},
                    **{_column(field): text for field in fields},
                },
            },
            "aliases": {self._alias(index): {}},
        }
        answer = await self._ask("PUT", f"/{self._prefix}{index}", body)
        if answer.status != 200 and "resource_already_exists" not in str(answer.body):
            raise self._refused(answer)

    async def drop(self, index: str) -> None:
        """Remove an index."""
        answer = await self._ask("DELETE", f"/{self._prefix}{index}")
        if answer.status != 200 and not answer.missing:
            raise self._refused(answer)
        self._seen.pop(index)

    async def indexes(self) -> list[str]:
        """Name the indexes there are."""
        answer = await self._ask("GET", f"/_cat/indices/{self._prefix}*?format=json&h=index")
        if answer.status != 200:
            raise self._refused(answer)
        return sorted(row["index"].removeprefix(self._prefix) for row in answer.body)

    async def position(self, index: str) -> int:
        """Return the position of an index. Raises NoIndex."""
        answer = await self._ask("GET", f"/{self._prefix}{index}/_doc/{_POSITION}")
        if answer.missing:
            raise NoIndex(index)
        if answer.status not in (200, 404):
            raise self._refused(answer)
        return int(answer.body["_source"]["position"]) if answer.body["found"] else 0

    async def apply(
        self, index: str, changes: Sequence[IndexChange], position: int | None = None
    ) -> None:
        """Write changes, in parts, and then the position. Raises NoIndex."""
        for part in _parts(changes):
            await self._bulk(index, part)
        if position is not None or not changes:
            written = 0 if position is None else position
            line = _line(_POSITION, written, {"position": written})
            await self._bulk(index, line)

    async def query(self, index: str, query: SearchQuery, *, position: int = 0) -> list[Hit]:
        """Return the next hits. Raises NoIndex, TooCommon, Unavailable."""
        if position > (self._seen.get(index) or 0):
            if await self.position(index) < position:
                raise NoIndex(index)
            await self._show(index, position)
        answer = await self._ask("POST", f"/{self._prefix}{index}/_search", _body(query))
        if answer.missing:
            raise NoIndex(index)
        if answer.status != 200:
            raise self._refused(answer)
        if answer.body["timed_out"]:
            raise TooCommon
        if answer.body["_shards"]["failed"]:
            raise Unavailable("a part of the search index does not answer", retry_after_s=1)
        hits = answer.body["hits"]["hits"]
        return [Hit(hit["_id"], float(hit.get("_score") or 0)) for hit in hits]

    async def _show(self, index: str, position: int) -> None:
        """Return once what was written up to a position is found."""
        shown = 0
        while shown < position:
            look = self._looks.get(index)
            if look is None:
                look = asyncio.create_task(self._look(index), name="search refresh")
                self._looks[index] = look
                look.add_done_callback(lambda _: self._looks.pop(index, None))
            shown = await asyncio.shield(look)  # others wait for it too
            self._seen.put(index, max(self._seen.get(index) or 0, shown))

    async def _look(self, index: str) -> int:
        """Wait for the next refresh; return the position that is shown by then."""
        reached = await self.position(index)
        path = f"/{self._alias(index)}/_doc/{_LOOK}?refresh=wait_for&require_alias=true"
        answer = await self._ask("PUT", path, {})
        if answer.missing:
            raise NoIndex(index)
        if answer.status not in (200, 201):
            raise self._refused(answer)
        return reached

    async def _bulk(self, index: str, lines: bytes) -> None:
        """Write some documents; those of which there is a newer version stay as they are."""
        path = f"/{self._alias(index)}/_bulk?require_alias=true"
        for tried in range(TRIES):
            answer = await self._ask("POST", path, lines)
            if answer.missing:
                raise NoIndex(index)
            if answer.status not in (200, *_BUSY):
                raise self._refused(answer)
            if answer.status == 200:
                items = [item["index"] for item in answer.body["items"]]
                faults = [item for item in items if item["status"] not in (200, 201, 409)]
                if not faults:
                    return
                if any("index_not_found" in str(item) for item in faults):
                    raise NoIndex(index)
                if any(item["status"] not in _BUSY for item in faults):
                    raise RuntimeError(f"OpenSearch refuses a document: {str(faults[0])[:300]}")
            await asyncio.sleep(PAUSE_S * 2**tried)
        raise Unavailable("the search engine takes no more now", retry_after_s=1)

    async def _ask(self, method: str, path: str, body: object = None) -> _Answer:
        """Ask once. Raises Unavailable where there is no answer, or that something broke there."""
        assert self._session is not None
        data: bytes | None
        if isinstance(body, bytes):
            data, kind = body, "application/x-ndjson"
        else:
            data, kind = None if body is None else msgspec.json.encode(body), "application/json"
        try:
            async with self._session.request(
                method, self._base + path, data=data, headers={"content-type": kind},
                allow_redirects=False,
            ) as answer:  # fmt: skip
                text = await answer.read()
                found = _Answer(answer.status, _read(text))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self._away = f"{type(error).__name__}: {error}"
            raise Unavailable("the search engine cannot be reached", retry_after_s=1) from error
        if found.status >= 500 and found.status not in _BUSY:
            raise self._refused(found)
        self._away = ""
        if not self._version and path == "/" and isinstance(found.body, dict):
            told = found.body.get("version", {})
            name = {"opensearch": "OpenSearch"}.get(told.get("distribution"), "Elasticsearch")
            self._version = f"{name} {told.get('number', '')}"
        return found

    def _refused(self, answer: _Answer) -> Unavailable:
        self._away = answer.told()
        return Unavailable("the search engine cannot do this now", retry_after_s=1)

    def _alias(self, index: str) -> str:
        """What is written to: a name that no write makes."""
        return f"{self._prefix}{index}.on"


def _read(text: bytes) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return text[:300].decode(errors="replace")  # of a proxy, perhaps


def _column(field: str) -> str:
    return f"in_{field}"


def _line(id: str, version: int, document: Mapping[str, Any]) -> bytes:
    told = {"index": {"_id": id, "version": version, "version_type": "external_gte"}}
    return b"%b\n%b\n" % (msgspec.json.encode(told), msgspec.json.encode(document))


def _parts(changes: Sequence[IndexChange]) -> Iterator[bytes]:
    """Write changes as bodies of up to BULK_BYTES_MAX; one document comes however long it is."""
    lines: list[bytes] = []
    size = 0
    for change in changes:
        words = {_column(field): text for field, text in (change.words or {}).items()}
        line = _line(change.id, change.version, {"id": change.id, **words})
        if lines and size + len(line) > BULK_BYTES_MAX:
            yield b"".join(lines)
            lines, size = [], 0
        lines.append(line)
        size += len(line)
    if lines:
        yield b"".join(lines)


def _body(query: SearchQuery) -> dict[str, Any]:
    """Write a query in OpenSearch's language: words are values, and nothing in them is syntax."""
    must = [
        {"bool": {"should": [_in_field(term, *each) for each in query.weights.items()]}}
        for term in query.terms
    ]
    newest = query.order == "newest"
    order: list[dict[str, str]] = (
        [{"id": "desc"}] if newest else [{"_score": "desc"}, {"id": "asc"}]
    )
    body: dict[str, Any] = {
        "query": {"bool": {"must": must}},
        "sort": order,
        "size": query.limit,
        "_source": False,
        "track_total_hits": False,
        "timeout": f"{QUERY_S * 1000:.0f}ms",
    }
    if query.after is not None:
        after = query.after
        body["search_after"] = [after.id] if newest else [after.score, after.id]
    return body


def _in_field(term: Term, field: str, weight: float) -> dict[str, Any]:
    name = _column(field)
    if len(term.words) > 1:
        return {"match_phrase": {name: {"query": " ".join(term.words), "boost": weight}}}
    kind = "prefix" if term.prefix else "term"
    return {kind: {name: {"value": term.words[0], "boost": weight}}}
