"""Where the processes of a crew write what they count: a ledger each, which all of them read.

An entry names a series and has its values behind it. It is written whole before it counts as
there, and never moves, so that who reads meanwhile finds what is right. Its values change in place,
eight bytes at a time: nothing is lost with a process, and who succeeds it goes on where it was.
"""

import os
import threading
from collections.abc import Iterator, Sequence

import msgspec

from mainspring.adapters.shared_memory import SharedMemory
from mainspring.kernel.metric import Gauge, Histogram, Labels, Metric
from mainspring.ports.telemetry import OTHER

LEDGER_BYTES = 16 << 20  # some 50,000 series; what was never written to takes no memory
_WORD = 8
_USED, _PID, _FIRST = 0, 1, 2  # words: how far it is written, whose it is, where entries begin


class LedgerEntry(msgspec.Struct, frozen=True):
    """A series and its values. Those of a gauge are its value, and when it was set."""

    metric: Metric
    labels: Labels
    values: "memoryview[float]"

    @property
    def is_spare(self) -> bool:
        """Whether it is the place of what finds no other, and nobody has needed it."""
        return is_other(self.labels) and not any(self.values)


class _Name(msgspec.Struct, frozen=True, array_like=True):
    metric: Metric
    labels: Labels


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Name).decode


def share(size: int) -> Sequence["Ledger"]:
    """Make the ledgers of processes that are forked from now on."""
    memory = SharedMemory("telemetry")
    return [Ledger(memory.at(at * LEDGER_BYTES, LEDGER_BYTES)) for at in range(size)]


def is_other(labels: Labels) -> bool:
    """Tell whether these labels stand for all that have no series of their own."""
    return bool(labels) and set(labels) == {OTHER}


def _size(metric: Metric) -> int:
    """How many values a series has: a histogram's counts and their sum, a gauge's two."""
    if isinstance(metric, Histogram):
        return len(metric.bounds) + 2
    return 2 if isinstance(metric, Gauge) else 1


class Ledger:
    """What one process has counted; its owner alone writes to it."""

    def __init__(self, memory: memoryview) -> None:
        self._memory = memory
        self._words = memory.cast("Q")
        self._values = memory.cast("d")
        self._known: dict[tuple[Metric, Labels], LedgerEntry] = {}
        self._read = _FIRST
        self._opening = threading.Lock()

    def own(self) -> None:
        """Go on with it in this process. What only its predecessor could know begins at nought."""
        for entry in self.entries():
            if isinstance(entry.metric, Gauge) and not entry.metric.newest:
                entry.values[0] = 0.0
        self._words[_PID] = os.getpid()

    @property
    def pid(self) -> int:
        """The process whose it is; 0 while there is none."""
        pid = self._words[_PID]
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return 0
        return pid

    def entries(self) -> Iterator[LedgerEntry]:
        """Return every series that is there by now."""
        used = self._words[_USED]
        while self._read < used:
            self._take_in(self._read)
        yield from list(self._known.values())

    def open(self, metric: Metric, labels: Labels) -> "memoryview[float]":
        """Return the values of a series, which are nought where it is new.

        Where there is no room left for it, those of the labels "other". Raises ValueError when
        there is none for these either: a metric is declared with them first.
        """
        with self._opening:
            entry = self._known.get((metric, labels)) or self._append(metric, labels)
        if entry is not None:
            return entry.values
        if not labels or is_other(labels):
            raise ValueError(f"{metric.name}: there are too many metrics to count this one too")
        return self.open(metric, (OTHER,) * len(labels))

    def _append(self, metric: Metric, labels: Labels) -> LedgerEntry | None:
        at = max(self._words[_USED], _FIRST)
        name = _encode(_Name(metric, labels))
        begin = (at + 1) * _WORD
        end = at + 1 + -(-len(name) // _WORD) + _size(metric)
        if end > len(self._words):
            return None
        self._words[at] = len(name)
        self._memory[begin : begin + len(name)] = name
        self._words[_USED] = end
        return self._take_in(at)

    def _take_in(self, at: int) -> LedgerEntry:
        """Read the entry at a word, and go on behind it the next time."""
        length = self._words[at]
        begin = (at + 1) * _WORD
        name = _decode(self._memory[begin : begin + length])
        first = at + 1 + -(-length // _WORD)
        self._read = first + _size(name.metric)
        entry = LedgerEntry(name.metric, name.labels, self._values[first : self._read])
        self._known[name.metric, name.labels] = entry
        return entry
