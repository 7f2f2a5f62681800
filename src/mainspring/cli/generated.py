"""Writes the clients' methods anew from the declarations: ``make clients``."""

import sys
from pathlib import Path

from mainspring.app import BUILT_IN
from mainspring.interfaces.clients import python


def main() -> None:
    """Write the modules of the built-in services into the folder that is named."""
    folder = Path(sys.argv[1])
    for service in BUILT_IN:
        operations = sorted(service.operations.values(), key=lambda each: each.name)
        for name, text in python.modules(service.name, python.callable_ones(operations)):
            (folder / name).write_text(text)


if __name__ == "__main__":
    main()
