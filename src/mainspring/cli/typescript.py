"""Writes the TypeScript client's modules anew from the declarations: ``make clients``."""

import sys
from pathlib import Path

from mainspring.app import BUILT_IN
from mainspring.interfaces.clients import typescript


def main() -> None:
    """Write what is made of the built-in services into the folder that is named."""
    folder = Path(sys.argv[1])
    (folder / "services").mkdir(parents=True, exist_ok=True)
    for name, text in typescript.modules(BUILT_IN):
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
