"""The offline verifier on exports that were tampered with in every way we could think of."""

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from mainspring.kernel import merkle
from mainspring.services.audit.export import FORMAT, End, ExportedEvent, Header, Milestone
from mainspring.services.audit.model import BadNote, Checkpoint, VerifierKey
from mainspring.services.audit.verify import PROBLEMS_SHOWN_MAX, verify, verify_file
from tests.services.audit.signing import sign

PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
ORIGIN = "tests.example/log"
KEY = VerifierKey(ORIGIN, PRIVATE.public_key().public_bytes_raw())
SIZE = 700
BODIES = [b'{"specversion":"1.0","id":"evt_%d","data":{"n":%d}}' % (i, i) for i in range(SIZE)]


def checkpoint_of(bodies, time="2026-01-31T12:00:00.000Z"):
    root = merkle.root_of(merkle.leaf_hash(body) for body in bodies)
    return Checkpoint(ORIGIN, len(bodies), root, time)


def entry(seq, body):
    return (
        msgspec.json.encode(ExportedEvent(seq, merkle.leaf_hash(body), msgspec.Raw(body))) + b"\n"
    )


def export_of(bodies):
    """An export, written here from the format's words and not by the exporter."""
    leaves = [merkle.leaf_hash(body) for body in bodies]
    note = sign(checkpoint_of(bodies), KEY, PRIVATE.sign)
    out = [msgspec.json.encode(Header(FORMAT, ORIGIN, str(KEY), len(bodies), note)) + b"\n"]
    for seq, body in enumerate(bodies, 1):
        out.append(entry(seq, body))
        if seq % 256 == 0 and seq < len(bodies):
            spans = merkle.consistency_spans(seq, len(bodies))
            proof = [merkle.root_of(leaves[begin:end]) for begin, end in spans]
            out.append(msgspec.json.encode(Milestone(seq, proof)) + b"\n")
    out.append(msgspec.json.encode(End(len(bodies))) + b"\n")
    return out


def at(lines, seq):
    """Where in the export the event is."""
    return next(i for i, line in enumerate(lines) if line.startswith(b'{"seq":%d,' % seq))


def found(lines, **options):
    report = verify(lines, str(KEY), **options)
    assert report.ok is (report.problems_found == 0)
    return [(p.kind, p.first, p.last) for p in report.problems]


SMALL = tuple(export_of(BODIES[:300]))


@pytest.fixture(scope="module")
def whole():
    return tuple(export_of(BODIES))


@pytest.fixture
def lines(whole):
    return list(whole)


@pytest.mark.parametrize("size", [0, 1, 2, 255, 256, 257, 512, 700])
def test_a_whole_export_verifies(size):
    told = []
    report = verify(export_of(BODIES[:size]), str(KEY), progress=lambda *a: told.append(a))
    assert report.problems == []
    assert report.ok
    assert (report.events, report.size, report.trusted) == (size, size, True)
    assert told == [(at, size) for at in range(256, size + 1, 256)]


def test_without_a_key_of_ones_own_it_says_so(lines):
    report = verify(lines)
    assert report.ok
    assert not report.trusted
    assert report.key == str(KEY)


@pytest.mark.parametrize("seq", [1, 255, 256, 257, 512, 513, 699, 700])
def test_a_changed_body_is_named(lines, seq):
    i = at(lines, seq)
    lines[i] = lines[i].replace(b'"n":', b'"n":1')
    assert found(lines) == [("changed", seq, seq)]
    assert f"event {seq} (evt_{seq - 1})" in verify(lines).problems[0].detail


def test_a_changed_space_is_a_change(lines):
    i = at(lines, 5)
    lines[i] = lines[i].replace(b'"data":', b'"data": ')
    assert found(lines) == [("changed", 5, 5)]


@pytest.mark.parametrize(
    ("seq", "first", "last"), [(1, 1, 256), (256, 1, 256), (300, 257, 512), (700, 513, 700)]
)
def test_a_rewritten_leaf_is_narrowed_to_its_milestone(lines, seq, first, last):
    lines[at(lines, seq)] = entry(seq, b'{"id":"evt_forged"}')
    assert found(lines) == [("changed", first, last)]


def test_two_changes_are_both_named(lines):
    for seq in (17, 400):
        i = at(lines, seq)
        lines[i] = lines[i].replace(b'"n":', b'"n":1')
    assert found(lines) == [("changed", 17, 17), ("changed", 400, 400)]


def test_a_removed_entry_is_named(lines):
    del lines[at(lines, 300)]
    assert found(lines) == [("missing", 300, 300)]


def test_a_removed_entry_hidden_by_counting_on_is_found():
    kept = BODIES[:299] + BODIES[300:]
    lines = export_of(BODIES)
    rest = [entry(seq, body) for seq, body in enumerate(kept, 1)]
    milestones = {i: line for i, line in enumerate(lines) if line.startswith(b'{"milestone"')}
    forged = [lines[0], *rest[:256], *list(milestones.values())[:1], *rest[256:512],
              *list(milestones.values())[1:], *rest[512:], lines[-1]]  # fmt: skip
    kinds = found(forged)
    assert ("truncated", 700, 700) in kinds
    assert ("changed", 257, 512) in kinds


def test_an_entry_put_in_is_found(lines):
    forged = entry(700, b'{"id":"evt_forged"}')
    lines.insert(at(lines, 700), forged)
    assert ("repeated", 700, 700) in found(lines)
    more = [*export_of(BODIES)[:-1], entry(701, b'{"id":"evt_forged"}'), b'{"end":701}\n']
    assert found(more) == [("changed", 701, 701)]


def test_reordered_entries_are_named(lines):
    i = at(lines, 40)
    lines[i], lines[i + 1] = lines[i + 1], lines[i]
    assert found(lines) == [("missing", 40, 40), ("reordered", 40, 40)]


def test_entries_reordered_under_each_others_seq_are_found(lines):
    lines[at(lines, 40)], lines[at(lines, 41)] = entry(40, BODIES[40]), entry(41, BODIES[39])
    assert found(lines) == [("changed", 1, 256)]


def test_a_repeated_entry_is_named_and_spoils_nothing_else(lines):
    lines.insert(at(lines, 90), lines[at(lines, 89)])
    assert found(lines) == [("repeated", 89, 89)]


@pytest.mark.parametrize("kept", [1, 2, 300, 702])
def test_a_cut_export_is_truncated(lines, kept):
    assert any(kind == "truncated" for kind, _, _ in found(lines[:kept]))


def test_a_cut_with_a_new_end_line_is_truncated(lines):
    cut = [*lines[: at(lines, 600)], msgspec.json.encode(End(599)) + b"\n"]
    assert found(cut) == [("truncated", 600, 700)]


def test_an_older_whole_export_is_told_from_the_log_by_a_known_checkpoint(lines):
    rolled_back = export_of(BODIES[:600])
    assert found(rolled_back) == []
    known = [checkpoint_of(BODIES)]
    assert found(rolled_back, known=known) == [("truncated", 601, 700)]
    assert found(lines, known=[checkpoint_of(BODIES[:600]), *known]) == []


def test_a_log_that_was_rewritten_and_signed_again_differs_from_what_was_known(lines):
    forged = list(BODIES)
    forged[41] = b'{"id":"evt_forged"}'
    rewritten = export_of(forged)
    assert found(rewritten) == []
    assert found(rewritten, known=[checkpoint_of(BODIES[:100])]) == [("differs", 1, 100)]
    assert found(rewritten, known=[checkpoint_of(BODIES[:41])]) == []
    assert found(rewritten, older=lines) == [("differs", 42, 42)]
    assert found(export_of(BODIES[:650]), older=lines) == [("truncated", 651, 651)]
    assert found(lines, older=export_of(BODIES[:650])) == []


def test_a_changed_milestone_does_not_accuse_the_events(lines):
    i = next(i for i, line in enumerate(lines) if line.startswith(b'{"milestone":256'))
    lines[i] = msgspec.json.encode(Milestone(256, [bytes(32)])) + b"\n"
    assert found(lines) == [("changed", None, None)]
    assert "the milestone at 256 was changed" in verify(lines).problems[0].detail


def test_a_changed_leaf_beside_an_untouched_body(lines):
    i = at(lines, 9)
    old = msgspec.json.decode(lines[i], type=ExportedEvent)
    lines[i] = msgspec.json.encode(ExportedEvent(9, bytes(32), old.body)) + b"\n"
    assert found(lines) == [("changed", 9, 9), ("changed", 1, 256)]


def test_a_milestone_that_is_missing_or_there_twice_is_named(lines):
    i = next(i for i, line in enumerate(lines) if line.startswith(b'{"milestone":512'))
    milestone = lines.pop(i)
    assert found(lines) == [("missing", None, None)]
    assert found([*lines[:i], milestone, milestone, *lines[i:]]) == [("repeated", None, None)]


def test_withheld_bodies_are_counted_and_still_proved(lines):
    for seq in (3, 4):
        i = at(lines, seq)
        leaf = msgspec.json.decode(lines[i], type=ExportedEvent).leaf
        lines[i] = msgspec.json.encode(ExportedEvent(seq, leaf)) + b"\n"
    report = verify(lines, str(KEY), allow_withheld=True)
    assert report.ok
    assert report.withheld == 2
    assert found(lines) == [("withheld", 3, 4)]


def test_an_export_stripped_of_every_body_is_not_intact(lines):
    stripped = [
        msgspec.json.encode(ExportedEvent(e.seq, e.leaf)) + b"\n"
        if isinstance(e, ExportedEvent)
        else line
        for line in lines
        for e in [
            msgspec.json.decode(line, type=ExportedEvent) if line.startswith(b'{"seq"') else None
        ]
    ]
    report = verify(stripped, str(KEY))
    assert (report.ok, report.withheld) == (False, SIZE)
    assert [(p.kind, p.first, p.last) for p in report.problems] == [("withheld", 1, SIZE)]
    assert "700 of 700 events" in report.problems[0].detail
    # What is withheld still cannot be put in another's place.
    moved = list(stripped)
    i, j = at(moved, 3), at(moved, 4)
    three, four = (msgspec.json.decode(moved[k], type=ExportedEvent) for k in (i, j))
    moved[i] = msgspec.json.encode(ExportedEvent(3, four.leaf)) + b"\n"
    moved[j] = msgspec.json.encode(ExportedEvent(4, three.leaf)) + b"\n"
    assert found(moved, allow_withheld=True) == [("changed", 1, 256)]


def test_a_forged_header_is_refused(lines):
    other = Ed25519PrivateKey.from_private_bytes(bytes(32))
    theirs = VerifierKey(ORIGIN, other.public_key().public_bytes_raw())
    note = sign(checkpoint_of(BODIES), theirs, other.sign)
    header = Header(FORMAT, ORIGIN, str(theirs), SIZE, note)
    lines[0] = msgspec.json.encode(header) + b"\n"
    assert ("signature", None, None) in found(lines)
    assert verify(lines).ok  # which is why a report says whose key it trusted
    assert not verify(lines).trusted


@pytest.mark.parametrize("header", [b"", b"{}\n", b"\xff\n", b'{"export":1}\n'])
def test_what_is_no_export_is_said_to_be_none(header):
    assert not verify([header], str(KEY)).ok


def test_garbage_between_the_lines_is_named(lines):
    lines.insert(7, b'{"what":1}\n')
    lines.insert(9, b"\x00\xff\n")
    lines.append(b"more\n")
    report = verify(lines, str(KEY))
    assert [p.kind for p in report.problems] == ["unreadable"] * 3


def drop(lines, data):
    del lines[data.draw(st.integers(0, len(lines) - 1))]


def repeat(lines, data):
    at = data.draw(st.integers(0, len(lines) - 1))
    lines.insert(data.draw(st.integers(0, len(lines))), lines[at])


def swap(lines, data):
    i, j = data.draw(st.lists(st.integers(0, len(lines) - 1), min_size=2, max_size=2, unique=True))
    lines[i], lines[j] = lines[j], lines[i]


def cut(lines, data):
    del lines[data.draw(st.integers(0, len(lines) - 1)) :]


def edit(lines, data):
    at = data.draw(st.integers(0, len(lines) - 1))
    line = bytearray(lines[at])
    place = data.draw(st.integers(0, len(line) - 2))
    line[place] ^= data.draw(st.integers(1, 255))
    lines[at] = bytes(line)


@given(st.data(), st.sampled_from([drop, repeat, swap, cut, edit]))
@settings(max_examples=400)
def test_no_single_change_goes_unseen(data, change):
    lines = list(SMALL)
    change(lines, data)
    if b"".join(lines) != b"".join(SMALL):
        split = b"".join(lines).splitlines(keepends=True)
        assert not verify(split, str(KEY)).ok


def test_the_list_of_problems_is_bounded(lines):
    spoilt = [line.replace(b'"n":', b'"n":1') for line in lines]
    report = verify(spoilt, str(KEY))
    assert len(report.problems) == PROBLEMS_SHOWN_MAX
    assert report.problems_found == SIZE


def test_a_key_that_is_none_is_refused(lines):
    with pytest.raises(BadNote):
        verify(lines, "nonsense")


def header(checkpoint="", key=None, size=SIZE, origin=ORIGIN):
    return msgspec.json.encode(Header(FORMAT, origin, str(key or KEY), size, checkpoint)) + b"\n"


def test_an_export_without_a_checkpoint_or_with_an_unsigned_one_is_refused(lines):
    whole = msgspec.json.decode(lines[0], type=Header).checkpoint
    unsigned = whole.partition("\n\n")[0] + "\n\n"
    for note in ("", unsigned, whole.replace("700", "699")):
        assert ("signature", None, None) in found([header(note), *lines[1:]])
    without = [line for line in lines if not line.startswith(b'{"export"')]
    assert found(without)[0][0] == "unreadable"


def test_a_checkpoint_of_another_log_is_refused(lines):
    other = "other.example/log"
    key = VerifierKey(other, KEY.public)
    root = checkpoint_of(BODIES).root
    theirs = sign(Checkpoint(other, SIZE, root, "2026-01-31T12:00:00.000Z"), key, PRIVATE.sign)
    assert ("signature", None, None) in found([header(theirs, key, origin=other), *lines[1:]])
    # Signed with the key we trust, under its name, for a log of another name.
    misnamed = sign(Checkpoint(other, SIZE, root, ""), KEY, PRIVATE.sign)
    assert ("signature", None, None) in found([header(misnamed), *lines[1:]])


def test_what_follows_the_checkpoint_is_not_vouched_for(lines):
    tail = [entry(701, b'{"id":"evt_701"}'), entry(702, b'{"id":"evt_702"}')]
    grown = [*lines[:-1], *tail, b'{"end":702}\n']
    assert found(grown) == [("changed", 701, 702)]


def test_an_older_export_must_be_whole_and_of_the_same_log(tmp_path, lines):
    path, older = tmp_path / "new.ndjson", tmp_path / "old.ndjson"
    path.write_bytes(b"".join(lines))

    def kinds(old, key=str(KEY)):
        older.write_bytes(b"".join(old))
        return [p.kind for p in verify_file(path, key, older=older).problems]

    good = export_of(BODIES[:300])
    assert kinds(good) == []
    assert "truncated" in kinds(good[:40])
    assert "unreadable" in kinds([])
    forger = Ed25519PrivateKey.from_private_bytes(bytes(32))
    theirs = VerifierKey(ORIGIN, forger.public_key().public_bytes_raw())
    note = sign(checkpoint_of(BODIES[:300]), theirs, forger.sign)
    forged = [header(note, theirs, size=300), *good[1:]]
    assert "signature" in kinds(forged)
    assert kinds(forged, None) == ["signature"]


def test_files(tmp_path, lines):
    path, older = tmp_path / "new.ndjson", tmp_path / "old.ndjson"
    path.write_bytes(b"".join(lines))
    older.write_bytes(b"".join(export_of(BODIES[:300])))
    assert verify_file(path, str(KEY), older=older).ok
    path.write_bytes(b"".join(lines)[:-50])
    assert not verify_file(path, str(KEY)).ok
