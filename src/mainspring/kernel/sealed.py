"""Sealed columns: what a service stores encrypted with the keyring, each value bound to its row."""

from typing import Any

import msgspec

from mainspring.kernel.table import Table

_encode = msgspec.json.Encoder().encode


class SealedColumn(msgspec.Struct, frozen=True):
    """A column of ``bytes``, sealed for a ``purpose``; its table has a column ``tenant``.

    A service declares its columns with ``Service.seals``, so that they are sealed anew when the
    keyring was given another key. ``bound_as`` is the column whose values this one takes over as
    they are, within a row.
    """

    table: Table[Any]
    column: str
    purpose: str
    bound_as: str = ""

    @property
    def name(self) -> str:
        """Name it among all."""
        return f"{self.table.name}.{self.column}"

    def about(self, tenant: str, *key: str | int) -> bytes:
        """Say which value is sealed: copied to another row, by its key, it does not open."""
        return _encode((tenant, self.table.name, self.bound_as or self.column, *key))
