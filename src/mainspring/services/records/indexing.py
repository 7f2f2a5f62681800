"""Keeps the words of records in the search engine: what is indexed, and the jobs that do it."""

from typing import Any

from mainspring import Call, handles
from mainspring.kernel.search_terms import TERMS_VERSION, words_of
from mainspring.ports.search import IndexChange, SearchEngine
from mainspring.services.records.api import search as api
from mainspring.services.records.model import CompiledCollection, Definition
from mainspring.services.records.projector import Jobs, MakeChange, Projector
from mainspring.services.records.store.indexes import SEARCHES


def searched(definition: Definition) -> list[str]:
    """Name the fields that are searched, in their order."""
    return [field.name for field in definition.fields if field.search]


def _making(collection: CompiledCollection) -> MakeChange[IndexChange]:
    names = searched(collection.definition)

    def make(id: str, version: int, record: dict[str, Any] | None) -> IndexChange:
        words = None if record is None else {name: _words(record.get(name)) for name in names}
        return IndexChange(id, version, words)

    return make


def _words(value: object) -> str:
    texts = value if isinstance(value, list) else [value]
    return " ".join([word for text in texts if isinstance(text, str) for word in words_of(text)])


SEARCH = Projector(
    port=SearchEngine,
    table=SEARCHES,
    consumer="records.index_records",
    jobs=Jobs(api.refresh_search, api.build_search, api.drop_search),
    holds=searched,
    marked='"search":true',
    layout=f"terms {TERMS_VERSION}",
    making=_making,
)


@handles(api.refresh_search)
async def refresh_search(call: Call, collection: str) -> None:
    """Keep the index that fits, or begin one; remove what is not asked for."""
    await SEARCH.refresh(call, collection)


@handles(api.build_search)
async def build_search(call: Call, index: str) -> None:
    """Write one page of the collection as it is stored by now."""
    await SEARCH.build(call, index)


@handles(api.drop_search)
async def drop_search(call: Call, index: str) -> None:
    """Remove it from the store."""
    await SEARCH.drop(call, index)


@handles(api.check_search)
async def check_search(call: Call) -> None:
    """Compare what is stored of indexes with what the store has."""
    await SEARCH.check(call)
