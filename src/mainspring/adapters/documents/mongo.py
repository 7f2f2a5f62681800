"""Documents in a MongoDB, or what speaks its protocol: a collection of it for each index.

A document is kept as it is, with its version and a mark that it is there beside it. It is written
over only where the version is not newer, by one statement: MongoDB does that at once for one
document. What is deleted keeps its version and nothing else. The position is a document of the same
collection, written after what it stands for; it is what ``make`` makes, so that a collection which
came to be by a late write has none, and is no index.

What the server refuses to keep is written without its fields, after the index was marked for good
as one that lacks something: from then on nothing is answered by it.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from hashlib import blake2b
from typing import Any

import pymongo
from bson.errors import InvalidDocument
from pymongo import AsyncMongoClient, ReadPreference, WriteConcern
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import (
    BulkWriteError,
    ConnectionFailure,
    DuplicateKeyError,
    ExecutionTimeout,
    NetworkTimeout,
    OperationFailure,
    PyMongoError,
    WriteError,
)

from mainspring.kernel.clock import rfc3339
from mainspring.kernel.errors import Unavailable
from mainspring.ports.database import StartError
from mainspring.ports.documents import (
    QUESTION_S,
    AnswerTooLarge,
    DocumentChange,
    IdQuestion,
    NoIndex,
    NotSpoken,
    NotWhole,
    TooSlow,
)
from mainspring.ports.opening import SYSTEM_SOURCES, Sources

TIMEOUT_S = 10.0  # of one request
FOUND_S = 1.0  # until there is a server that takes writes
CONNECTIONS_MAX = 32
INSERTED_AT_ONCE = 500
REPLACED_AT_ONCE = 8  # at a time, of one batch
AWAY_S = 1.0  # for so long nobody asks a server again that could not be reached
ROWS_MAX = 10_000  # of one answer

_INDEX = "~index"
_VERSION, _THERE, _POSITION, _LACKS = "~v", "~on", "~at", "~lacks"
_DENIED = frozenset({13, 18, 8000})
Document = dict[str, Any]


def open(url: str, sources: Sources = SYSTEM_SOURCES) -> "MongoDocuments":
    """Open ``mongodb://user:password@host:27017/database``. Raises StartError.

    Behind a "?" stand MongoDB's own options. Reads go to the primary and writes are waited for
    from a majority, whatever the URL says.
    """
    try:
        client: AsyncMongoClient[Document] = AsyncMongoClient(
            url,
            connect=False,
            maxPoolSize=CONNECTIONS_MAX,
            serverSelectionTimeoutMS=int(FOUND_S * 1_000),
            socketTimeoutMS=int(TIMEOUT_S * 1_000),
            connectTimeoutMS=int(TIMEOUT_S * 1_000),
            appname="mainspring",
            tz_aware=True,
        )
        return MongoDocuments(client, client.get_default_database("mainspring"))
    except (PyMongoError, ValueError) as error:
        raise StartError(f"[documents] url: {error}") from error


class MongoDocuments:
    """Fills the documents port."""

    def __init__(
        self, client: AsyncMongoClient[Document], database: AsyncDatabase[Document]
    ) -> None:
        self._client = client
        self._database = database
        self._prefix = ""
        self._version = ""
        self._away = ""
        self._away_until_s = 0.0

    async def open(self, owner: str) -> None:
        """Find the server. One that is away is no reason not to begin; one that refuses us is."""
        self._prefix = f"m{blake2b(owner.encode(), digest_size=5).hexdigest()}_"
        try:
            with pymongo.timeout(FOUND_S):
                told = await self._client.server_info()
                await self._database.list_collection_names()
        except OperationFailure as error:
            await self.close()
            raise StartError(f"[documents] url: the server refuses us: {_told(error)}") from error
        except PyMongoError as error:
            self._note_away(error)
            return
        ferret = told.get("ferretdbVersion") or ("ferretdb" in told and "of this protocol")
        self._version = f"FerretDB, as MongoDB {told['version']}" if ferret else ""
        self._version = self._version or f"MongoDB {told['version']}"

    async def close(self) -> None:
        """Let go of the connections."""
        await self._client.close()

    def away(self) -> str:
        """Say why it could not be asked a moment ago."""
        return self._away

    def version(self) -> str:
        """Name the server, where it answered at the start."""
        return self._version

    async def make(self, index: str, fields: Sequence[str]) -> None:
        """Make an index; one that is there is left as it is."""
        made = {"$setOnInsert": {_POSITION: 0}}
        async with _Talk(self):
            await self._at(index).update_one({"_id": _INDEX}, made, upsert=True)

    async def drop(self, index: str) -> None:
        """Remove an index."""
        async with _Talk(self):
            await self._at(index).drop()

    async def indexes(self) -> list[str]:
        """Name the indexes there are."""
        async with _Talk(self):
            names = await self._database.list_collection_names()
        ours = [name for name in names if name.startswith(self._prefix)]
        return sorted(name.removeprefix(self._prefix) for name in ours)

    async def position(self, index: str) -> int:
        """Return the position of an index. Raises NoIndex."""
        async with _Talk(self):
            return int((await self._index(index))[_POSITION])

    async def apply(
        self, index: str, changes: Sequence[DocumentChange], position: int | None = None
    ) -> None:
        """Write changes, and then the position. Raises NoIndex."""
        async with _Talk(self):
            await self._index(index)
            for at in range(0, len(changes), INSERTED_AT_ONCE):
                await self._write(index, changes[at : at + INSERTED_AT_ONCE])
            reached = await self._at(index).update_one(
                {"_id": _INDEX}, {"$max": {_POSITION: position or 0}}
            )
            if not reached.matched_count:
                raise NoIndex(index)

    async def ids(self, index: str, question: IdQuestion, *, position: int = 0) -> list[str]:
        """Return the ids of documents that pass a filter."""
        parts: list[dict[str, Any]] = [{_THERE: True}]
        if question.filter:
            parts.append({**question.filter})
        if question.after is not None:
            parts.append({"_id": {"$gt": question.after}})
        order = dict(question.order)
        if "_id" not in order:
            order["_id"] = 1
        async with _Talk(self, asks=True):
            await self._require(index, position)
            found = self._at(index).find(
                {"$and": parts},
                {"_id": 1},
                sort=list(order.items()),
                skip=question.skip,
                limit=question.limit,
                max_time_ms=int(QUESTION_S * 1_000),
            )
            return [str(each["_id"]) for each in await found.to_list()]

    async def pipeline(
        self,
        index: str,
        stages: Sequence[Mapping[str, Any]],
        *,
        bytes_max: int,
        position: int = 0,
    ) -> list[dict[str, Any]]:
        """Return what the stages make. Raises AnswerTooLarge."""
        ours: list[Mapping[str, Any]] = [
            {"$match": {_THERE: True}},
            {"$project": {_THERE: 0, _VERSION: 0}},
        ]
        made: list[Document] = []
        size = 0
        async with _Talk(self, asks=True):
            await self._require(index, position)
            cursor = await self._at(index).aggregate(
                [*ours, *stages], maxTimeMS=int(QUESTION_S * 1_000), allowDiskUse=False
            )
            async with cursor:
                async for each in cursor:
                    plain = _plain(each)
                    size += _size(plain)
                    if size > bytes_max or len(made) >= ROWS_MAX:
                        raise AnswerTooLarge
                    made.append(plain)
        return made

    # Writing

    async def _write(self, index: str, changes: Sequence[DocumentChange]) -> None:
        """Insert what is not there, and write over what is there and is not newer."""
        to, ids = self._at(index), [change.id for change in changes]
        there = {each["_id"] async for each in to.find({"_id": {"$in": ids}}, {"_id": 1})}
        fresh = [change for change in changes if change.id not in there]
        again = [change for change in changes if change.id in there]
        if fresh:
            again += await self._insert(index, fresh)
        for at in range(0, len(again), REPLACED_AT_ONCE):
            some = again[at : at + REPLACED_AT_ONCE]
            await asyncio.gather(*[self._replace(index, change) for change in some])

    async def _insert(
        self, index: str, changes: Sequence[DocumentChange]
    ) -> Sequence[DocumentChange]:
        """Insert them; return those that have to be written one by one."""
        documents = [{"_id": change.id, **_kept(change)} for change in changes]
        try:
            await self._at(index).insert_many(documents, ordered=False)
        except InvalidDocument:
            return changes
        except BulkWriteError as error:
            failed = [told["index"] for told in error.details["writeErrors"]]
            if not failed or error.details.get("writeConcernErrors"):
                raise
            return [changes[at] for at in failed]
        return []

    async def _replace(self, index: str, change: DocumentChange) -> None:
        try:
            await self._put(index, change, _kept(change))
        except (InvalidDocument, WriteError):
            lacks = {"$set": {_LACKS: True}}
            marked = await self._at(index).update_one({"_id": _INDEX}, lacks)
            if not marked.matched_count:
                raise NoIndex(index) from None
            await self._put(index, change, {_VERSION: change.version, _LACKS: True})

    async def _put(self, index: str, change: DocumentChange, document: Document) -> None:
        older = {"_id": change.id, _VERSION: {"$lte": change.version}}
        try:
            await self._at(index).replace_one(older, document, upsert=True)
        except DuplicateKeyError:
            return  # there is a newer one

    # What there is

    def _at(self, index: str) -> AsyncCollection[Document]:
        return self._database.get_collection(
            f"{self._prefix}{index}",
            read_preference=ReadPreference.PRIMARY,
            write_concern=WriteConcern(w="majority", j=True),
        )

    async def _index(self, index: str) -> Document:
        found = await self._at(index).find_one({"_id": _INDEX})
        if found is None:
            raise NoIndex(index)
        return found

    async def _require(self, index: str, position: int) -> None:
        found = await self._index(index)
        if found[_POSITION] < position:
            raise NoIndex(index)
        if found.get(_LACKS):
            raise NotWhole(index)

    def _note_away(self, error: Exception) -> None:
        self._away = f"{type(error).__name__}: {str(error)[:200]}"
        self._away_until_s = asyncio.get_running_loop().time() + AWAY_S

    def _require_not_away(self) -> None:
        if self._away and asyncio.get_running_loop().time() < self._away_until_s:
            raise _unreachable()

    async def _require_found(self) -> None:
        """Raise Unavailable where there is no server to ask; the client goes on to look for one."""
        self._require_not_away()
        if self._client.topology_description.has_writable_server():
            return
        try:
            with pymongo.timeout(FOUND_S):
                await self._client.admin.command("ping")
        except PyMongoError as error:
            self._note_away(error)
            raise _unreachable() from error

    def _note_there(self) -> None:
        self._away = ""


class _Talk:
    """A talk with the server whose failures are told in the words of the port.

    One that ``asks`` is short, and does not begin where the server was away a moment ago.
    """

    def __init__(self, of: MongoDocuments, *, asks: bool = False) -> None:
        self._of = of
        self._asks = asks
        self._timeout = pymongo.timeout(QUESTION_S + 1 if asks else None)

    async def __aenter__(self) -> None:
        if self._asks:
            await self._of._require_found()
        self._timeout.__enter__()

    async def __aexit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        self._timeout.__exit__(kind, error, trace)
        if error is None or isinstance(error, NoIndex | NotWhole):
            self._of._note_there()
        elif isinstance(error, ConnectionFailure | NetworkTimeout):
            self._of._note_away(error)
            raise _unreachable() from error
        elif self._asks and isinstance(error, ExecutionTimeout):
            raise TooSlow from error
        elif self._asks and isinstance(error, OperationFailure) and error.code not in _DENIED:
            raise NotSpoken(_told(error)) from error
        elif isinstance(error, PyMongoError):
            self._of._note_away(error)
            raise Unavailable(
                "the store of documents cannot do this now", retry_after_s=1
            ) from error


def _unreachable() -> Unavailable:
    return Unavailable("the store of documents cannot be reached", retry_after_s=1)


def _told(error: OperationFailure) -> str:
    """What the server says, without what it was sent."""
    details = error.details or {}
    return str(details.get("errmsg") or error.code)[:300]


def _kept(change: DocumentChange) -> Document:
    """A document as it is kept, without its id; of a deleted one the version."""
    if change.document is None:
        return {_VERSION: change.version}
    return {**change.document, _VERSION: change.version, _THERE: True}


def _plain(value: Any) -> Any:
    """A value of BSON as JSON has it. Raises NotSpoken for one that JSON has not."""
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, bool | str):
        return str(value) if isinstance(value, str) else value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return value if value - value == 0 else None  # neither infinite nor none at all
    if isinstance(value, datetime):
        return rfc3339(int(value.timestamp() * 1_000))
    raise NotSpoken(f"a {type(value).__name__} is nothing that JSON has: convert it")


def _size(value: Any) -> int:
    """About how many bytes a value takes as JSON."""
    if isinstance(value, dict):
        return sum(len(name) + 4 + _size(inner) for name, inner in value.items())
    if isinstance(value, list):
        return sum(1 + _size(item) for item in value)
    return len(value) + 2 if isinstance(value, str) else 8
