"""Keeps collections with ``documents`` in the store of documents: what a copy has, and its jobs.

Personal fields are not in it: they are opened for who may see them, of whom is not erased.
"""

from typing import Any

from mainspring import Call, handles
from mainspring.ports.documents import DocumentChange, DocumentStore
from mainspring.services.records.api import document_copies as api
from mainspring.services.records.model import CompiledCollection, Definition
from mainspring.services.records.projector import Jobs, MakeChange, Projector
from mainspring.services.records.store.indexes import DOCUMENTS

WHOLE = "*"  # a new field is in the copy without another one
LAYOUT = "documents 1"


def _holds(definition: Definition) -> list[str]:
    """What a copy has: everything but these."""
    if not definition.documents:
        return []
    return [WHOLE, *(f"-{field.name}" for field in definition.fields if field.personal)]


def _making(collection: CompiledCollection) -> MakeChange[DocumentChange]:
    personal = collection.personal

    def make(id: str, version: int, record: dict[str, Any] | None) -> DocumentChange:
        if record is None:
            return DocumentChange(id, version, None)
        shown = {name: value for name, value in record.items() if name not in personal}
        return DocumentChange(id, version, shown)

    return make


COPIES = Projector(
    port=DocumentStore,
    table=DOCUMENTS,
    consumer="records.copy_documents",
    jobs=Jobs(api.refresh_documents, api.build_documents, api.drop_documents),
    holds=_holds,
    marked='"documents":true',
    layout=LAYOUT,
    making=_making,
)


@handles(api.refresh_documents)
async def refresh_documents(call: Call, collection: str) -> None:
    """Keep the index that fits, or begin one; remove what is not asked for."""
    await COPIES.refresh(call, collection)


@handles(api.build_documents)
async def build_documents(call: Call, index: str) -> None:
    """Write one page of the collection as it is stored by now."""
    await COPIES.build(call, index)


@handles(api.drop_documents)
async def drop_documents(call: Call, index: str) -> None:
    """Remove it from the store."""
    await COPIES.drop(call, index)


@handles(api.check_documents)
async def check_documents(call: Call) -> None:
    """Compare what is stored of indexes with what the store has."""
    await COPIES.check(call)
