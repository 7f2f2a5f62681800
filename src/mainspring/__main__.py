"""``python -m mainspring`` is ``mainspring``."""

from mainspring.cli import program

program()
