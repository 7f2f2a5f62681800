"""What a client calls an operation: ``records.create_record`` is ``client.records.create``."""

import keyword
from collections.abc import Collection


def method_name(operation: str, siblings: Collection[str]) -> str:
    """Return the method's name: without the noun that its service is called by.

    The noun in the plural goes too, unless there is one of the same verb in the singular:
    ``delete_record`` is ``delete``, and ``delete_records`` stays. So does what would be a word of
    the language: ``import_users``. ``siblings`` are the full names of its service's operations.
    """
    service, _, name = operation.partition(".")
    singular = service.removesuffix("s")
    for noun in (singular, service):
        verb = name.removesuffix(f"_{noun}")
        if verb == name or keyword.iskeyword(verb):
            continue
        if noun == service and f"{service}.{verb}_{singular}" in siblings and singular != service:
            continue
        return verb
    return name
