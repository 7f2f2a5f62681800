"""``mainspring admin key --recover``: an administrator's key for whoever holds the machine.

The keyring proves that: whoever can read it could sign any access token as well.
"""

from pathlib import Path

from mainspring.cli.instance_file import reach_running
from mainspring.cli.loop import run_loop
from mainspring.cli.offline import recover_admin_key
from mainspring.cli.options import find_folder
from mainspring.cli.remote import Remote
from mainspring.services.users.admin import StoredSecret
from mainspring.settings import Settings


def recover(settings: Settings) -> Path:
    """Make the key anew and return its file: by the platform that runs here, or without one.

    Raises StartError.
    """
    running = reach_running(find_folder(settings))

    def ask(secret: StoredSecret, token: str) -> None:
        assert running is not None  # else nobody is asked
        wanted = {"prefix": secret.prefix, "key_hash": secret.hash.hex()}
        Remote(running.url, token, running.certificate).call("POST", "/v1/api_keys:recover", wanted)

    return run_loop(recover_admin_key(settings, None if running is None else ask))
