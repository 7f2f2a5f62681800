"""A service's certificate, key and trusted roots: a directory that is replaced as one.

They lie as Kubernetes mounts a secret of cert-manager's: ``tls.crt``, ``tls.key`` and ``ca.crt``
are links into ``..data``, and ``..data`` is a link to the directory that holds this version of all
three. Moving ``..data`` is one rename: whoever follows it once reads files that belong together.
"""

import os
import shutil
from pathlib import Path

import msgspec

from mainspring.adapters import private_file
from mainspring.ports.database import StartError

CERTIFICATE, KEY, ROOTS = "tls.crt", "tls.key", "ca.crt"
DATA = "..data"
_FRESH = "..data.new"
READS_MAX = 20  # each of another version: nobody renews so often


class CertificateFiles(msgspec.Struct, frozen=True):
    """One version of the three files, PEM: the chain from the leaf on, its key, trusted roots."""

    chain: bytes
    key: bytes
    roots: bytes


def read(folder: Path) -> CertificateFiles:
    """Read the three files of one version.

    Where there is no ``..data`` they are read as they lie. A version that goes while it is read is
    left for the one that took its place. Raises StartError when a file is missing, or others than
    its owner may read it.
    """
    for _ in range(READS_MAX):
        version = _version(folder)
        try:
            return CertificateFiles(*(_text(version / name) for name in (CERTIFICATE, KEY, ROOTS)))
        except StartError:
            if _version(folder) == version:
                raise
    raise StartError(f"{folder}: is replaced faster than it can be read")


def _version(folder: Path) -> Path:
    data = folder / DATA
    return folder / data.readlink() if data.is_symlink() else folder


def _text(path: Path) -> bytes:
    try:
        return private_file.read(path)
    except FileNotFoundError:
        raise StartError(f"{path.parent}: there is no {path.name} in it") from None


def publish(folder: Path, files: CertificateFiles, version: str) -> None:
    """Put a new version of the three files in place of the one there, all at once.

    After a crash all three are the old ones or all three the new ones. The version before stays
    for whoever is reading it; older ones go. One process may publish at a time. Raises StartError.
    """
    fresh = f"..{version}"
    for name, text in ((CERTIFICATE, files.chain), (KEY, files.key), (ROOTS, files.roots)):
        private_file.write(folder / fresh / name, text)
    try:
        before = _version(folder).name
        _link(folder / DATA, fresh)
        for name in (CERTIFICATE, KEY, ROOTS):
            if not (folder / name).is_symlink():
                _link(folder / name, f"{DATA}/{name}")
        _sync(folder)
        for old in folder.glob("..*"):
            if old.is_dir() and not old.is_symlink() and old.name not in (fresh, before):
                shutil.rmtree(old)
    except OSError as error:
        raise StartError(f"{folder}: cannot be written: {error.strerror}") from None


def _link(path: Path, target: str) -> None:
    fresh = path.with_name(_FRESH)
    fresh.unlink(missing_ok=True)  # of a process that died here
    fresh.symlink_to(target)
    fresh.rename(path)


def _sync(folder: Path) -> None:
    directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
