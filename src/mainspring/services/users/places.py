"""About where an address is: looked up in a file that whoever runs the platform brings.

No address leaves the process. The file is of the MaxMind DB format, of cities or of countries; it
is mapped into memory, so another one takes its place by a rename, and counts from the next start.
"""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import structlog

from mainspring.kernel.language_tag import wider
from mainspring.ports.database import StartError
from mainspring.services.users.api import UsersSettings, service
from mainspring.services.users.api.structs import Whereabouts

if TYPE_CHECKING:
    from maxminddb import Reader

log = structlog.get_logger()

PACKAGE = "maxminddb"
NAME_CHARS_MAX = 100


class _Country(msgspec.Struct, frozen=True):
    iso_code: str | None = None


class _City(msgspec.Struct, frozen=True):
    names: Mapping[str, str] = {}


class _Found(msgspec.Struct, frozen=True):
    country: _Country = _Country()
    city: _City = _City()


class Gazetteer:
    """One for the process; without a file it knows no place. Raises StartError."""

    def __init__(self, settings: UsersSettings) -> None:
        self._reader = _open(Path(settings.places)) if settings.places else None
        self._broken = False

    def of(self, address: str, locale: str = "") -> Whereabouts | None:
        """Return about where an address is, its city named in a language where that is known.

        None where nobody knows, and where the file turns out to be broken: that is logged, once.
        """
        if self._reader is None or not address:
            return None
        from maxminddb import InvalidDatabaseError

        try:
            found = msgspec.convert(self._reader.get(address) or {}, _Found)
        except (InvalidDatabaseError, msgspec.ValidationError) as error:
            if not self._broken:
                log.error("places_file_broken", error=str(error))
            self._broken = True
            return None
        except ValueError:  # no address, or of a version that the file does not have
            return None
        names = found.city.names
        city = next((names[tag] for tag in (*wider(locale), "en") if tag in names), None)
        if found.country.iso_code is None and city is None:
            return None
        return Whereabouts(found.country.iso_code, city and city[:NAME_CHARS_MAX])

    def close(self) -> None:
        """Let go of the file."""
        if self._reader is not None:
            self._reader.close()


service.provide(Gazetteer, needs=(UsersSettings,))


def _open(file: Path) -> "Reader":
    if find_spec(PACKAGE) is None:
        raise StartError(
            f"[users] places needs the package {PACKAGE}: pip install '.[places]' in a checkout"
        )
    from maxminddb import InvalidDatabaseError, open_database

    try:
        return open_database(file)
    except OSError as error:
        raise StartError(
            f"[users] places: cannot read {error.filename or file}: {error.strerror or error}"
        ) from error
    except (InvalidDatabaseError, ValueError) as error:
        raise StartError(
            f"[users] places: {file} is not a MaxMind DB: give the path of an .mmdb file ({error})"
        ) from error
