"""Finds the user's ``App``: ``module:attribute``, ``app.py`` or ``app.py:attribute``."""

import importlib
import importlib.util
import sys
import sysconfig
import traceback
from pathlib import Path
from types import ModuleType

from mainspring.kernel.declaration import Misdeclared
from mainspring.kernel.user_app import App
from mainspring.ports.database import StartError

_OURS = str(Path(__file__).parents[1])
_LIBRARIES = {sysconfig.get_path(kind) for kind in ("stdlib", "purelib", "platlib")}


def load_app(name: str) -> App:
    """Import it and return its App.

    Raises StartError with one line when there is none, and Misdeclared with one that begins with
    the place when the file itself is wrong.

    Without an attribute it is the module's ``app``, or its only App. The working directory (for a
    module) or the file's own (for a file) is put on the import path.
    """
    place, _, attribute = name.rpartition(":") if ":" in name else (name, "", "")
    file = Path(place)
    module = _from_file(file) if file.suffix == ".py" or "/" in place else _from_name(place)
    if attribute:
        found = getattr(module, attribute, None)
        if not isinstance(found, App):
            kind = "nothing" if found is None else f"a {type(found).__name__}"
            raise StartError(f"{name}: {attribute} is {kind}, not an App")
        return found
    apps = {key: value for key, value in vars(module).items() if isinstance(value, App)}
    if "app" in apps:
        return apps["app"]
    if len(set(map(id, apps.values()))) == 1:
        return next(iter(apps.values()))
    if apps:
        raise StartError(f"{name}: holds several Apps; choose one, as in {place}:{min(apps)}")
    raise StartError(f"{name}: holds no App; define one: app = App('shop')")


def _from_file(file: Path) -> ModuleType:
    if not file.is_file():
        raise StartError(f"{file}: no such file")
    _put_on_path(file.resolve().parent)
    spec = importlib.util.spec_from_file_location(file.stem, file)
    if spec is None or spec.loader is None:
        raise StartError(f"{file}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise _failed(str(file), error) from error
    return module


def _from_name(name: str) -> ModuleType:
    _put_on_path(Path.cwd())
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        raise _failed(name, error) from error


def _put_on_path(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


def _failed(name: str, error: BaseException) -> Exception:
    """Say what failed and in which line of the user's: the innermost outside of libraries."""
    if isinstance(error, SyntaxError) and error.filename:
        place = f"{Path(error.filename).name}:{error.lineno}"
        return Misdeclared(f"{place}: {name} cannot be imported: SyntaxError: {error.msg}")
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith((_OURS, "<"))
        and not any(Path(frame.filename).is_relative_to(folder) for folder in _LIBRARIES)
    ]
    if not frames:
        return StartError(f"{name} cannot be imported: {type(error).__name__}: {error}")
    place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}"
    if isinstance(error, Misdeclared):
        return Misdeclared(f"{place}: {error}")
    return Misdeclared(f"{place}: {name} cannot be imported: {type(error).__name__}: {error}")
