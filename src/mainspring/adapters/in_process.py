"""What an adapter says of a store that it does not have: all is in the process."""


class InProcess:
    """Asks nobody, so nobody can be away."""

    __slots__ = ()

    async def open(self, owner: str) -> None:
        """Begin: nobody else reads what is in a process."""

    async def close(self) -> None:
        """Let go of nothing."""

    def away(self) -> str:
        """Say that it can be asked."""
        return ""

    def version(self) -> str:
        """Name no store."""
        return ""
