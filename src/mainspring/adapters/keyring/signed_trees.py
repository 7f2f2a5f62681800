"""What the keys of a keyring file have signed: kept beside it, not in the database that goes back.

A JSON file, mode 0600, that holds for each log and each key the largest tree it has signed for.
Processes on one keyring take turns with it, and it is on the disk before a signature is made.
"""

import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import msgspec
import structlog

from mainspring.adapters import private_file
from mainspring.kernel.errors import Unavailable
from mainspring.kernel.merkle import extends
from mainspring.ports.database import StartError
from mainspring.ports.keyring import SignedTree, TreeContradicts

log = structlog.get_logger()

_ByKey = Mapping[str, SignedTree]


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """For each log by its name, what each key has signed by its id."""

    version: int
    logs: Mapping[str, _ByKey]


class SignedTrees:
    """Remembers trees for keys by their ids. Everything waits for the disk: call it in a thread.

    Where the directory cannot be written at all, a keyring that is mounted to be read, it remembers
    as long as the process lives, and says so in the log.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._held: dict[str, _ByKey] = {}  # where there can be no file
        self._warned = False

    def last(self, name: str, signers: Collection[str]) -> SignedTree | None:
        """Return the largest tree that one of these keys has signed for a log. Raises Unavailable.

        What they signed together extends what any of them signed before.
        """
        return _largest(self._read().get(name, {}), signers)

    def note(
        self,
        name: str,
        tree: SignedTree,
        signers: Collection[str],
        proof: Sequence[bytes],
        known: Collection[str],
    ) -> None:
        """Note that these keys sign a tree; the proof shows that it extends the last one.

        What keys did that are not ``known`` any more is forgotten. Raises TreeContradicts, and
        Unavailable, with nothing noted.
        """

        def add(logs: Mapping[str, _ByKey]) -> dict[str, _ByKey]:
            signed = logs.get(name, {})
            last = _largest(signed, signers)
            if last is not None and not extends(last.size, last.root, tree.size, tree.root, proof):
                raise TreeContradicts(last)
            kept = {key: then for key, then in signed.items() if key in known}
            return {**logs, name: {**kept, **dict.fromkeys(signers, tree)}}

        if not os.access(self._path.parent, os.W_OK):
            self._held = add(self._read())
            self._warn()
            return
        try:
            private_file.change(self._path, lambda data: _write(add(self._decode(data))))
        except StartError as error:
            raise Unavailable(f"nothing is signed: {error}", retry_after_s=1) from error

    def _read(self) -> Mapping[str, _ByKey]:
        try:
            return {**self._decode(private_file.read(self._path)), **self._held}
        except FileNotFoundError:
            return self._held
        except StartError as error:
            raise Unavailable(f"nothing is signed: {error}", retry_after_s=1) from error

    def _decode(self, data: bytes | None) -> Mapping[str, _ByKey]:
        if data is None:
            return {}
        try:
            file = msgspec.json.decode(data, type=_File)
        except msgspec.DecodeError as error:
            raise StartError(
                f"{self._path} cannot be read ({error}): it says what the audit log's keys have "
                "signed; put it back, or remove it and run mainspring admin restored, which has "
                "another key sign from then on"
            ) from error
        return file.logs

    def _warn(self) -> None:
        if not self._warned:
            self._warned = True
            log.warning(
                "signed_trees_not_kept",
                file=str(self._path),
                advice="the directory cannot be written: after a restart nothing but the database "
                "tells what was signed",
            )


def _largest(signed: _ByKey, signers: Collection[str]) -> SignedTree | None:
    found = (tree for key, tree in signed.items() if key in signers)
    return max(found, key=lambda tree: tree.size, default=None)


def _write(logs: Mapping[str, _ByKey]) -> bytes:
    return msgspec.json.format(msgspec.json.encode(_File(1, logs)), indent=2) + b"\n"
