"""What a personal field may be: its value is sealed, so that nothing can be asked of it."""

from collections.abc import Sequence

from mainspring.services.records.api import Field
from mainspring.services.records.fields import USERS
from mainspring.services.records.guards import is_withheld

TYPES = ("text", "number", "integer", "boolean", "datetime", "email", "url", "select", "json")
SEALED = "is personal: it is sealed, so nothing is found, sorted or decided by it"


def wrong_personal(field: Field) -> list[tuple[str, str]]:
    """What is wrong with what a field says of being personal, and where."""
    if not field.personal:
        nobody = "is for a personal field: it names whose it is"
        return [] if field.personal_of is None else [("personal_of", nobody)]
    found: list[tuple[str, str]] = []
    if field.type not in TYPES:
        others = "a link is not sealed" if field.type == "relation" else "files are not sealed"
        found.append(("personal", f"a {field.type} field cannot be personal: {others}"))
    sealed = f"this field {SEALED}"
    found.extend((part, sealed) for part in ("many", "unique") if getattr(field, part))
    if field.required:
        found.append(("required", "erasing its person empties it, so it cannot be required"))
    if field.default is not None or field.stamp is not None:
        part = "stamp" if field.default is None else "default"
        found.append((part, f"what is personal comes from somebody: it has no {part}"))
    if field.personal_of is None:
        owner = "a relation to users, or text that is stamped with caller.user"
        found.append(("personal_of", f"name the field that says whose it is: {owner}"))
    return found


def wrong_owner(field: Field, fields: Sequence[Field]) -> str | None:
    """What is wrong with the field that is to say whose another one is."""
    if not field.personal or field.personal_of is None:
        return None
    owner = next((f for f in fields if f.name == field.personal_of), None)
    if owner is None:
        return f"there is no field {field.personal_of!r}"
    if is_withheld(owner):
        return f"{owner.name!r} is not for everybody: whose a value is has to be seen with it"
    if owner.stamp is not None and owner.stamp_on == "write":
        return f"{owner.name!r} changes with each write, and a value does not change hands so"
    points = owner.type == "relation" and owner.collection == USERS and not owner.many
    if not points and owner.stamp != "caller.user":
        return f"{owner.name!r} says no user: name a relation to one, or a stamp of caller.user"
    return None
