"""Values of sealed columns, as services handle them: sealed for their row, and opened again."""

from typing import Protocol

from mainspring.kernel.call import Call
from mainspring.kernel.sealed import SealedColumn


class SealedValues(Protocol):
    """What seals the columns that services declare. Handlers reach it with ``call.use``.

    Each tenant and purpose has data keys of its own, which the keyring or a KMS wraps.
    """

    async def seal(self, call: Call, column: SealedColumn, plain: bytes, *key: str | int) -> bytes:
        """Encrypt a value of the call's tenant for its row, which has this key.

        Raises Unavailable where the KMS is away that the data key is needed of.
        """
        ...

    async def open(self, call: Call, column: SealedColumn, sealed: bytes, *key: str | int) -> bytes:
        """Decrypt a value of the call's tenant, whichever key of the past sealed it.

        Raises ValueError when none of ours did, or not for this row; Unavailable as ``seal`` does.
        """
        ...
