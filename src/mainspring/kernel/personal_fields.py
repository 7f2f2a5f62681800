"""Personal fields of events, as services handle them: shown again, and erased."""

from collections.abc import Sequence
from typing import Protocol

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
