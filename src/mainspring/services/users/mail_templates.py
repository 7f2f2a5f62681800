"""Mails in the product's own words: templates of a folder, read and checked once, at the start.

A file is ``KIND.subject.txt``, ``KIND.txt`` or ``KIND.html``; what begins with ``_`` is for others
to include or extend. What there is no file of says what the platform says. Templates are Jinja's,
in a sandbox that changes nothing; HTML escapes what it is given.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from mainspring.ports.database import StartError
from mainspring.services.users import mailing
from mainspring.services.users.api import UsersSettings, service
from mainspring.services.users.mailing import MailWords, Purpose

if TYPE_CHECKING:
    from jinja2.sandbox import ImmutableSandboxedEnvironment

FILES_MAX = 200
FILE_BYTES_MAX = 262_144
FILLED_CHARS_MAX = 524_288  # of a text or a page
SUBJECT_CHARS_MAX = 200
SUBJECT, TEXT, HTML = ".subject.txt", ".txt", ".html"
VARIABLES = frozenset(MailWords.__struct_fields__)


class FilledMail(msgspec.Struct, frozen=True):
    """What is sent: ``html`` is empty where there is no template of it."""

    subject: str
    text: str
    html: str


class MailTemplates:
    """One for the process. Raises StartError where a file is of no kind, or does not hold."""

    def __init__(self, settings: UsersSettings) -> None:
        folder = settings.mail_templates
        sources = _read(Path(folder)) if folder else {}
        self._names = frozenset(sources)
        if not sources:
            return
        self._environment = _environment(sources)
        for name, source in sources.items():
            _check(self._environment, Path(folder) / name, source)
        for purpose in Purpose:  # what only shows when it is filled in
            self.fill(mailing.sample(settings, purpose))

    def fill(self, words: MailWords) -> FilledMail:
        """Return a mail of this kind. Raises StartError where a template cannot be filled in."""
        subject, text = mailing.said(words)
        return FilledMail(
            " ".join(self._filled(words, SUBJECT, subject).split())[:SUBJECT_CHARS_MAX],
            self._filled(words, TEXT, text),
            self._filled(words, HTML, ""),
        )

    def _filled(self, words: MailWords, ending: str, otherwise: str) -> str:
        name = words.kind + ending
        if name not in self._names:
            return otherwise
        from jinja2 import TemplateError

        try:
            parts = self._environment.get_template(name).generate(msgspec.structs.asdict(words))
            return _bounded(name, parts)
        except (TemplateError, ArithmeticError, LookupError, TypeError, ValueError) as error:
            raise StartError(f"mail template {name}: {error}") from error


service.provide(MailTemplates, needs=(UsersSettings,))


def _environment(sources: dict[str, str]) -> "ImmutableSandboxedEnvironment":
    from jinja2 import DictLoader, StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    return ImmutableSandboxedEnvironment(
        loader=DictLoader(sources),
        autoescape=lambda name: name is not None and name.endswith(HTML),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )


def _check(environment: "ImmutableSandboxedEnvironment", file: Path, source: str) -> None:
    """Refuse what is of no kind of mail, what cannot be read, and what nobody gives it."""
    from jinja2 import TemplateError, meta

    name, where = file.name, f"mail template {file}"
    kinds = [kind for kind in Purpose for end in (SUBJECT, TEXT, HTML) if name == kind + end]
    if not kinds and not name.startswith("_"):
        raise StartError(
            f"{where}: is of no kind of mail: call it KIND{SUBJECT}, KIND{TEXT} or KIND{HTML}, "
            f"where KIND is one of {', '.join(sorted(Purpose))}"
        )
    try:
        tree = environment.parse(source)
    except TemplateError as error:
        line = getattr(error, "lineno", None)
        raise StartError(f"{where}{f':{line}' if line else ''}: {error}") from error
    if unknown := sorted(meta.find_undeclared_variables(tree) - VARIABLES):
        raise StartError(
            f"{where}: nobody gives it {unknown[0]!r}; there are {', '.join(sorted(VARIABLES))}"
        )


def _read(folder: Path) -> dict[str, str]:
    """Return the files of a folder by their names. Raises StartError."""
    try:
        files = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
        if len(files) > FILES_MAX:
            raise StartError(f"[users] mail_templates: {folder} has more than {FILES_MAX} files")
        if large := [path for path in files if path.stat().st_size > FILE_BYTES_MAX]:
            raise StartError(f"mail template {large[0]}: has more than {FILE_BYTES_MAX:,} bytes")
        return {path.name: path.read_text(encoding="utf-8") for path in files}
    except OSError as error:
        raise StartError(
            f"[users] mail_templates: cannot read {error.filename}: {error.strerror}"
        ) from error
    except UnicodeDecodeError as error:
        raise StartError(f"[users] mail_templates: a file of {folder} is not UTF-8") from error


def _bounded(name: str, parts: Iterable[Any]) -> str:
    found, chars = [], 0
    for part in parts:
        found.append(part)
        chars += len(part)
        if chars > FILLED_CHARS_MAX:
            raise ValueError(f"{name} makes more than {FILLED_CHARS_MAX:,} characters")
    return "".join(found)
