"""The audit trail's operations: entries, checkpoint, proofs and the export."""

from mainspring import (
    Call,
    EventLog,
    Invalid,
    LogEntry,
    NotFound,
    Page,
    Raw,
    Registry,
    Unauthenticated,
    Unavailable,
    handles,
    is_id,
    rfc3339,
)
from mainspring.kernel.event_log import require_known, scan
from mainspring.kernel.merkle import MerkleTree
from mainspring.kernel.service import pattern_covers
from mainspring.kernel.visibility import Visibility
from mainspring.ports.database import Database
from mainspring.ports.keyring import Keyring
from mainspring.services.audit import api, checkpoints
from mainspring.services.audit.export import lines
from mainspring.services.audit.presenter import present_entry
from mainspring.services.audit.store import OF_SIZE, CheckpointRow


@handles(api.list_entries)
async def list_entries(call: Call, query: api.EntryQuery) -> Page[api.AuditEntry]:
    require_known([query.type], call.use(Registry).events, "/type")
    log = call.use(EventLog)
    after = await log.positions.read(query.cursor)
    found = await scan(
        log.entries_after,
        after,
        limit=query.limit,
        scanned_max=api.SCANNED_MAX,
        wanted=lambda e: e.tenant == call.tenant and pattern_covers(query.type, e.type),
    )
    if found.position == after:  # nothing was read: the end, or past it
        await log.positions.require_held(after)
    visibility = Visibility(call)
    items = [present_entry(entry, shown=await visibility.shows(entry)) for entry in found.entries]
    position = await log.positions.write(found.position, found.last)
    return Page(items, None if found.at_end else position)


@handles(api.get_checkpoint)
async def get_checkpoint(call: Call) -> api.CheckpointView:
    row = await _published(call)
    origin = call.use(api.AuditSettings).origin
    key = checkpoints.verifier_key(call.use(Keyring), origin)
    return api.CheckpointView(origin, row.size, row.root, rfc3339(row.time_ms), row.note, str(key))


@handles(api.get_inclusion_proof)
async def get_inclusion_proof(
    call: Call, event_id: str, query: api.ProofQuery
) -> api.InclusionProof:
    if not is_id(event_id, "evt"):
        raise NotFound()
    entry = await call.use(EventLog).entry(event_id)
    if entry is None or entry.tenant != call.tenant:
        raise NotFound()
    if entry.seq == 0:
        raise Unavailable("the event is about to get its place in the log", retry_after_s=1)
    tree = call.use(EventLog).tree()
    if query.size is None:
        row: CheckpointRow | None = await _published(call, at_least=entry.seq)
        assert row is not None
        size = row.size
    else:
        size = await _checked(tree, query.size, "/size", at_least=entry.seq)
        row = await call.find(OF_SIZE, size=size)
    path = await tree.inclusion(entry.seq - 1, size)
    root = await tree.root(size)
    note = row.note if row is not None else None
    return api.InclusionProof(
        event_id, entry.seq, entry.seq - 1, size, entry.leaf, root, path, note
    )


@handles(api.get_consistency_proof)
async def get_consistency_proof(call: Call, query: api.ConsistencyQuery) -> api.ConsistencyProof:
    tree = call.use(EventLog).tree()
    if query.second is None:
        second = (await _published(call)).size
    else:
        second = await _checked(tree, query.second, "/second", at_least=0)
    if not 0 <= query.first <= second:
        raise Invalid.at("/first", f"must be from 0 to {second}")
    return api.ConsistencyProof(
        query.first,
        second,
        await tree.root(query.first),
        await tree.root(second),
        await tree.consistency(query.first, second),
    )


@handles(api.export_log)
async def export_log(call: Call) -> Raw:
    await _published(call)  # what cannot be signed is refused before the download begins

    async def shown(entry: LogEntry) -> bool:
        if not await call.still_allowed():
            raise Unauthenticated("the caller is no longer allowed to export")
        return await Visibility(call).shows(entry)

    body = lines(
        call.use(Database),
        call.use(EventLog),
        call.use(Keyring),
        origin=call.use(api.AuditSettings).origin,
        now_ms=call.now_ms,
        shown=shown,
    )
    disposition = ("Content-Disposition", 'attachment; filename="audit.ndjson"')
    return Raw(body, media_type="application/x-ndjson", headers=(disposition,))


async def _published(call: Call, *, at_least: int = 0) -> CheckpointRow:
    return await checkpoints.publish(
        call.use(Database),
        call.use(EventLog),
        call.use(Keyring),
        origin=call.use(api.AuditSettings).origin,
        now_ms=call.now_ms,
        at_least=at_least,
    )


async def _checked(tree: MerkleTree, size: int, pointer: str, *, at_least: int) -> int:
    """Return a size the log has had. Raises Invalid."""
    now = await tree.size()
    if not at_least <= size <= now:
        raise Invalid.at(pointer, f"must be from {at_least} to {now}")
    return size
