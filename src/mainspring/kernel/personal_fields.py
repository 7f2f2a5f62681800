"""Personal fields of events, as services handle them: shown again, and erased."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from mainspring.kernel.call import Call
from mainspring.kernel.table import Write


class PersonalFields(Protocol):
    """What is sealed for each person in the log. Handlers reach it with ``call.use``."""

    async def reveal(self, body: str, *, allowed: bool = True) -> str:
        """Return an event with its personal fields readable again.

        A field that may not be shown (``allowed`` is false) or whose person was erased is null, and
        the extension ``sealedfields`` names it. Events without such fields come back as they are.
        """
        ...

    def seals(self, body: str) -> bool:
        """Tell whether an event may have such fields: others need not be revealed."""
        ...

    async def knows(self, call: Call, person: str) -> bool:
        """Tell whether the log holds anything readable of this person."""
        ...

    def erase(self, call: Call, person: str) -> Sequence[Write]:
        """Return what makes a person's fields unreadable for good, and forgets stored answers.

        Staged with the event whose type ``erases`` that person, so that every process hears of it.
        """
        ...

    async def seal(
        self, call: Call, person: str, about: str, values: Mapping[str, Any]
    ) -> tuple[dict[str, Any], Sequence[Write]]:
        """Seal values of a thing of a service's own under a person's key, as they are to be kept.

        Null stays null, and of somebody who was erased nothing is kept. An event whose subject is
        ``about`` may hold them as they are. Returns them, and what is to be written along.
        """
        ...

    async def open(self, call: Call, about: str, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return values as they were before they were sealed; null whose person was erased."""
        ...
