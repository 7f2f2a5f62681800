"""The command line. Every command is a file here; what it needs is imported when it runs.

Exit codes: 0 all is well; 1 a check found something wrong (doctor, demo, audit verify); 2 the
command line, a setting or the app is wrong; 3 the platform cannot start or be reached; 130
interrupted.
"""

import os
import sys
from typing import NoReturn

from mainspring.cli.process_end import leave
from mainspring.ports.database import StartError

EXIT_FOUND = 1
EXIT_USAGE = 2
EXIT_START = 3
EXIT_INTERRUPTED = 130


def program() -> NoReturn:
    """Be the program ``mainspring``: run the command line and end the process."""
    try:
        main()
    except SystemExit as ended:
        code = ended.code
        if code is not None and not isinstance(code, int):
            print(code, file=sys.stderr)
            code = 1
        leave(code or 0)
    leave(0)


def main() -> None:
    """Run the command line and exit. Expected failures are one line on standard error.

    What it writes is for its own user alone: keys, mails, a log of everything.
    """
    from mainspring.cli.commands import app
    from mainspring.kernel.declaration import Misdeclared
    from mainspring.settings import SettingsError

    os.umask(0o077)
    try:
        app()
    except SettingsError as error:
        _fail(str(error), EXIT_USAGE)
    except Misdeclared as error:
        _fail(str(error), EXIT_USAGE)
    except StartError as error:
        _fail(str(error), EXIT_START)
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            sys.stderr.close()  # whoever read our output has seen enough
            sys.exit(EXIT_FOUND)
        place = f"{error.filename}: " if error.filename else ""
        _fail(f"{place}{error.strerror or error}", EXIT_START)
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)


def _fail(line: str, code: int) -> None:
    from mainspring.kernel.masking import masked_urls

    print(f"mainspring: {masked_urls(' '.join(line.split()))}", file=sys.stderr)
    sys.exit(code)
