"""The offline verifier: reads an export and says what, if anything, was done to it.

Pure: it streams lines in bounded memory and needs no server. What it can name exactly follows from
what the signature vouches for: a body that is not its leaf's is named by itself; where leaves were
rewritten too, the milestones (each proved under the signed root) name the 256 events it is among.
An export cut back to an older signed checkpoint is whole by itself, so compare it with a newer
checkpoint or with another export when you have one.
"""

import base64
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, TypeVar

import msgspec

from mainspring.kernel.merkle import Frontier, extends, leaf_hash
from mainspring.services.audit.export import (
    MILESTONE_EVENTS,
    End,
    ExportedEvent,
    Header,
    Milestone,
    Progress,
)
from mainspring.services.audit.model import BadNote, Checkpoint, VerifierKey, open_note

LINE_BYTES_MAX = 16 << 20
PROBLEMS_SHOWN_MAX = 100
KNOWN_MAX = 1_000  # checkpoints one export is compared with

T = TypeVar("T")

_encode = msgspec.json.Encoder().encode
_header = msgspec.json.Decoder(Header).decode
_entry = msgspec.json.Decoder(ExportedEvent).decode
_milestone = msgspec.json.Decoder(Milestone).decode
_end = msgspec.json.Decoder(End).decode


class Discrepancy(msgspec.Struct, frozen=True):
    """One thing that is wrong: with the events ``first`` to ``last`` (by ``seq``), where known."""

    # changed, missing, repeated, reordered, truncated, signature, unreadable, differs, withheld
    kind: str
    detail: str
    first: int | None = None
    last: int | None = None


class Report(msgspec.Struct, frozen=True):
    """What the verifier found. ``trusted`` tells whether the key was given or the export's own.

    ``withheld`` events are proved to be there by their leaves, and nobody can tell from the export
    what they say.
    """

    events: int
    withheld: int
    size: int
    root: str
    time: str
    key: str
    trusted: bool
    problems: list[Discrepancy]
    problems_found: int

    @property
    def ok(self) -> bool:
        """Tell whether nothing is wrong."""
        return self.problems_found == 0


def verify(
    lines: Iterable[bytes],
    trusted_key: str | None = None,
    *,
    known: Iterable[Checkpoint] = (),
    older: Iterable[bytes] | None = None,
    allow_withheld: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Check an export, line by line.

    ``trusted_key`` is the verifier key as it was learnt from somewhere else; ``known`` are
    checkpoints and ``older`` the lines of another export that this one must agree with: what that
    one says is taken as it stands. Bodies that were withheld are a problem unless they are expected
    (``allow_withheld``): an export can be stripped of them and still be proved. Raises BadNote when
    ``trusted_key`` is not a verifier key.
    """
    trusted = None if trusted_key is None else VerifierKey.parse(trusted_key)
    verifier = _Verifier(trusted, known, older, progress)
    verifier.allow_withheld = allow_withheld
    return verifier.run(iter(lines))


def verify_file(
    path: Path,
    trusted_key: str | None = None,
    *,
    known: Iterable[Checkpoint] = (),
    older: Path | None = None,
    allow_withheld: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Check an export in a file, as ``verify`` does. Raises OSError, BadNote.

    The older one is checked first, by itself: one that was cut or stripped would agree with
    anything, and one that is signed by another key is of another log.
    """
    with path.open("rb") as file:
        if older is None:
            return verify(
                read_lines(file), trusted_key, known=known, allow_withheld=allow_withheld,
                progress=progress,
            )  # fmt: skip
        with older.open("rb") as old:
            earlier = verify(read_lines(old), trusted_key, allow_withheld=True)
            old.seek(0)
            report = verify(
                read_lines(file), trusted_key, known=known, older=read_lines(old),
                allow_withheld=allow_withheld, progress=progress,
            )  # fmt: skip
    problems = [
        Discrepancy(p.kind, f"the earlier export: {p.detail}", p.first, p.last)
        for p in earlier.problems
    ]
    if earlier.ok and earlier.key != report.key:
        problems.append(Discrepancy("signature", "the earlier export is signed by another key"))
    return msgspec.structs.replace(
        report,
        problems=[*report.problems, *problems][:PROBLEMS_SHOWN_MAX],
        problems_found=report.problems_found + max(earlier.problems_found, len(problems)),
    )


def read_lines(file: BinaryIO) -> Iterator[bytes]:
    """Yield lines of at most ``LINE_BYTES_MAX``; a longer one comes in pieces that do not parse."""
    while line := file.readline(LINE_BYTES_MAX):
        yield line


class _Verifier:
    """One pass over one export."""

    def __init__(
        self,
        trusted: VerifierKey | None,
        known: Iterable[Checkpoint],
        older: Iterable[bytes] | None,
        progress: Progress | None,
    ) -> None:
        self.trusted = trusted
        self.known = {c.size: c for c, _ in zip(known, range(KNOWN_MAX), strict=False)}
        self.older = _leaves(older) if older is not None else None
        self.older_next: tuple[int, bytes] | None = None
        self.progress = progress
        self.allow_withheld = False
        self.problems: list[Discrepancy] = []
        self.found = 0
        self.frontier = Frontier()
        self.whole = True  # every leaf so far is there, so the tree can be compared
        self.milestone = 0  # the last one
        self.proven = 0  # size up to which the tree was shown to be the signed one
        self.suspect: Discrepancy | None = None
        self.gaps: list[tuple[int, int]] = []
        self.seq = 0
        self.events = 0
        self.withheld = 0
        self.withheld_first = self.withheld_last = 0
        self.header: Header | None = None
        self.checkpoint = Checkpoint("", 0, b"")

    def run(self, lines: Iterator[bytes]) -> Report:
        self._open(next(lines, b""))
        ended = self.header is None  # then nothing that follows can be told
        if ended:
            lines = iter(())
        for number, line in enumerate(lines, 2):
            if ended:
                self._problem("unreadable", f"line {number} follows the end of the export")
                break
            try:
                ended = self._take(line)
            except (msgspec.MsgspecError, UnicodeDecodeError):
                self._problem("unreadable", f"line {number} cannot be read")
        self._close(ended)
        return Report(
            self.events, self.withheld, self.checkpoint.size,
            base64.b64encode(self.checkpoint.root).decode(), self.checkpoint.time,
            str(self.trusted or (self.header.key if self.header else "")),
            self.trusted is not None, self.problems, self.found,
        )  # fmt: skip

    def _problem(
        self, kind: str, detail: str, first: int | None = None, last: int | None = None
    ) -> None:
        self.found += 1
        if len(self.problems) < PROBLEMS_SHOWN_MAX:
            self.problems.append(
                Discrepancy(kind, detail, first, last if last is not None else first)
            )

    def _open(self, line: bytes) -> None:
        """Read the header and check the signature that everything else hangs on."""
        try:
            self.header = _exact(_header(line), line)
            key = self.trusted or VerifierKey.parse(self.header.key)
            self.checkpoint = open_note(self.header.checkpoint, key)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            self._problem("unreadable", "the first line is not the header of an export")
            return
        except BadNote as error:
            self._problem("signature", str(error))
            return
        if self.header.key != str(key):
            self._check_newer_key(self.header)
        if (self.header.size, self.header.origin) != (self.checkpoint.size, key.name):
            self._problem("signature", "the header's size or origin is not the checkpoint's")
        if self.checkpoint.origin != key.name:
            self._problem("signature", f"the checkpoint is of {self.checkpoint.origin}")

    def _check_newer_key(self, header: Header) -> None:
        """Hold the checkpoint against the export's key too, when that is not the trusted one.

        After a rotation a checkpoint is signed with both.
        """
        try:
            open_note(header.checkpoint, VerifierKey.parse(header.key))
        except BadNote:
            what = "the export names another key than the trusted one, and that signed nothing"
            self._problem("signature", what)

    def _take(self, line: bytes) -> bool:
        """Take one line; returns whether it was the end."""
        if line.startswith(b'{"seq":'):
            self._take_entry(_exact(_entry(line), line))
        elif line.startswith(b'{"milestone":'):
            self._take_milestone(_exact(_milestone(line), line))
        else:
            self._take_end(_exact(_end(line), line))
            return True
        return False

    def _take_entry(self, entry: ExportedEvent) -> None:
        due = self.seq + 1
        if self.seq % MILESTONE_EVENTS == 0 and self.milestone != self.seq:
            self._problem("missing", f"the milestone after event {self.seq} is missing")
            self.milestone = self.seq
        if entry.seq < due:
            late = any(first <= entry.seq <= last for first, last in self.gaps)
            kind = "reordered" if late else "repeated"
            where = f"comes after {self.seq}" if late else "is there again"
            self._problem(kind, f"event {entry.seq}{_id_of(bytes(entry.body))} {where}", entry.seq)
            self._check_body(entry)
            return
        if entry.seq > due:
            self._problem(
                "missing", f"events {due} to {entry.seq - 1} are missing here", due, entry.seq - 1
            )
            self.whole = False
            if len(self.gaps) < PROBLEMS_SHOWN_MAX:
                self.gaps.append((due, entry.seq - 1))
        self.seq = entry.seq
        self.events += 1
        self._check_body(entry)
        self._compare_older(entry)
        self.frontier.append(entry.leaf)
        self._compare_known()
        if self.progress is not None and self.seq % 256 == 0:
            self.progress(self.seq, self.checkpoint.size)

    def _check_body(self, entry: ExportedEvent) -> None:
        body = bytes(entry.body)
        if not body:
            self.withheld += 1
            self.withheld_first = self.withheld_first or entry.seq
            self.withheld_last = entry.seq
        elif leaf_hash(body) != entry.leaf:
            detail = f"event {entry.seq}{_id_of(body)} was changed: its body is not its leaf's"
            self._problem("changed", detail, entry.seq)

    def _compare_known(self) -> None:
        """At the size of a checkpoint we hold, the tree must have its root."""
        known = self.known.get(self.seq) if self.known and self.whole else None
        if known is not None and self.frontier.root() != known.root:
            self._problem(
                "differs",
                f"events 1 to {self.seq} are not those of the known checkpoint of {self.seq}",
                1,
                self.seq,
            )

    def _compare_older(self, entry: ExportedEvent) -> None:
        if self.older is None:
            return
        while self.older_next is None or self.older_next[0] < entry.seq:
            self.older_next = next(self.older, None)
            if self.older_next is None:
                self.older = None
                return
        if self.older_next[0] == entry.seq and self.older_next[1] != entry.leaf:
            detail = f"event {entry.seq}{_id_of(bytes(entry.body))} differs from the other export"
            self._problem("differs", detail, entry.seq)

    def _take_milestone(self, milestone: Milestone) -> None:
        if milestone.milestone != self.seq or self.milestone == self.seq:
            self._problem("repeated", f"a milestone of {milestone.milestone} is at {self.seq}")
            return
        self.milestone = self.seq
        if not self.whole:
            return
        root, size = self.checkpoint.root, self.checkpoint.size
        proof = milestone.proof
        self._judge(extends(self.seq, self.frontier.root(), size, root, proof))

    def _judge(self, proven: bool) -> None:
        """Note that the tree up to here is, or is not, the beginning of the signed one."""
        if proven:
            if self.suspect is not None:
                detail = f"the milestone at {self.suspect.last} was changed, the events were not"
                self._problem("changed", detail)
                self.suspect = None
            self.proven = self.seq
        elif self.suspect is None:
            first = self.proven + 1
            detail = f"among events {first} to {self.seq} one was changed, removed or put in"
            self.suspect = Discrepancy("changed", detail, first, self.seq)

    def _take_end(self, end: End) -> None:
        if end.end != self.seq:
            self._problem("truncated", f"the end line says {end.end} events, not {self.seq}")

    def _close(self, ended: bool) -> None:
        if self.header is None:
            return
        size = self.checkpoint.size
        if not ended or self.seq < size:
            detail = f"the export ends after event {self.seq} of {size}"
            self._problem("truncated", detail, self.seq + 1, size)
        elif self.seq > size:
            detail = f"events after {size} are not covered by the checkpoint"
            self._problem("changed", detail, size + 1, self.seq)
        elif self.whole and self.checkpoint.root:
            self._judge(self.frontier.root() == self.checkpoint.root)
        if self.withheld and not self.allow_withheld:
            detail = f"{self.withheld} of {self.events} events are here without what they say"
            self._problem("withheld", detail, self.withheld_first, self.withheld_last)
        # A body that was found changed explains itself; the tree's own verdict stands beside it.
        if self.suspect is not None:
            self._problem("changed", self.suspect.detail, self.suspect.first, self.suspect.last)
        for known in self.known.values():
            if known.size > self.seq:
                detail = f"a known checkpoint covers {known.size} events, this export {self.seq}"
                self._problem("truncated", detail, self.seq + 1, known.size)
        ahead = self.older_next is not None and self.older_next[0] > self.seq
        if ahead or (self.older is not None and next(self.older, None) is not None):
            detail = f"the other export goes on after event {self.seq}"
            self._problem("truncated", detail, self.seq + 1)


def _leaves(lines: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """Yield the places and leaves of another export; what cannot be read is left out."""
    for line in lines:
        if line.startswith(b'{"seq":'):
            try:
                entry = _entry(line)
            except (msgspec.MsgspecError, UnicodeDecodeError):
                continue
            yield entry.seq, leaf_hash(bytes(entry.body)) if bytes(entry.body) else entry.leaf


def _exact(value: T, line: bytes) -> T:
    """Refuse a line that says the same in other bytes than the exporter's: somebody wrote it."""
    if _encode(value) != line.rstrip(b"\r\n"):
        raise msgspec.DecodeError("not as it was exported")
    return value


class _Named(msgspec.Struct, frozen=True):
    id: str


def _id_of(body: bytes) -> str:
    try:
        return f" ({msgspec.json.decode(body, type=_Named).id[:64]})"
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return ""
