"""Mails in the product's own words: templates of a folder, read and checked once, at the start.

A file is ``KIND.subject.txt``, ``KIND.txt`` or ``KIND.html``, or with a language before that:
``KIND.de-AT.txt``; what begins with ``_`` is for others to include or extend. A mail is all in one
language: that of files for its reader's, or a wider one (RFC 4647, 3.4); else that of files without
one. What there is no file of says what the platform says. Templates are Jinja's,
in a sandbox that changes nothing; HTML escapes what it is given.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from mainspring.kernel.language_tag import language_tag, wider
from mainspring.ports.database import StartError
from mainspring.services.users import mail_texts
from mainspring.services.users.api import UsersSettings, service
from mainspring.services.users.mail_texts import TEXTS, MailMatter, MailWords
from mainspring.services.users.mailing import Purpose

if TYPE_CHECKING:
    from jinja2.sandbox import ImmutableSandboxedEnvironment

FILES_MAX = 1_000
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
        self._settings = settings
        sources = _read(Path(folder)) if folder else {}
        self._names = frozenset(sources)
        self._locales: dict[Purpose, set[str]] = {}  # there are files for; "" of those without one
        if not sources:
            return
        self._environment = _environment(sources)
        for name, source in sources.items():
            kind, locale = _check(self._environment, Path(folder) / name, source)
            if kind is not None:
                self._locales.setdefault(kind, set()).add(locale)
        for kind, locales in self._locales.items():
            for locale in locales:
                self._require_whole(Path(folder), kind, locale)
        for kind in Purpose:  # what only shows when it is filled in
            for locale in {"", *self._locales.get(kind, ())}:
                self.fill(mail_texts.sample(kind, locale))

    def fill(self, matter: MailMatter) -> FilledMail:
        """Return a mail about this. Raises StartError where a template cannot be filled in."""
        own = self._settings.locale
        locales = self._locales.get(matter.purpose, set())
        chosen = next((tag for tag in wider(matter.locale) if tag in locales), "")
        # The words of the platform itself go along with the files there are.
        spoken = [chosen] if chosen else [own] if "" in locales else [matter.locale, own]
        words = mail_texts.words(self._settings, matter, mail_texts.language_of(*spoken))
        subject, text = mail_texts.said(words)
        kind = f"{words.kind}.{chosen}" if chosen else words.kind
        return FilledMail(
            " ".join(self._filled(words, kind + SUBJECT, subject).split())[:SUBJECT_CHARS_MAX],
            self._filled(words, kind + TEXT, text),
            self._filled(words, kind + HTML, ""),
        )

    def _require_whole(self, folder: Path, kind: Purpose, locale: str) -> None:
        """Refuse a mail half in a language that the platform itself does not speak."""
        if not locale or any(tag in TEXTS for tag in wider(locale)):
            return
        for ending in (SUBJECT, TEXT):
            if (name := f"{kind}.{locale}{ending}") not in self._names:
                raise StartError(
                    f"mail template {folder / name} is missing: the platform has no words of its "
                    f"own in {locale}, so each kind needs its subject and its text"
                )

    def _filled(self, words: MailWords, name: str, otherwise: str) -> str:
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


def _check(
    environment: "ImmutableSandboxedEnvironment", file: Path, source: str
) -> tuple[Purpose | None, str]:
    """Return which kind of mail a file is of, and its language; None where others include it.

    Refuses what is of no kind, what cannot be read, and what nobody gives it.
    """
    from jinja2 import TemplateError, meta

    name, where = file.name, f"mail template {file}"
    kind, locale = None, ""
    if not name.startswith("_"):
        end = next((end for end in (SUBJECT, TEXT, HTML) if name.endswith(end)), "")
        said, dot, locale = name.removesuffix(end).partition(".")
        if not end or said not in list(Purpose) or (dot and not _is_language(locale)):
            raise StartError(
                f"{where}: is of no kind of mail: call it KIND{SUBJECT}, KIND{TEXT} or KIND{HTML}, "
                f"or KIND.de-AT{TEXT} in a language, where KIND is one of "
                f"{', '.join(sorted(Purpose))}"
            )
        kind = Purpose(said)
    try:
        tree = environment.parse(source)
    except TemplateError as error:
        line = getattr(error, "lineno", None)
        raise StartError(f"{where}{f':{line}' if line else ''}: {error}") from error
    if unknown := sorted(meta.find_undeclared_variables(tree) - VARIABLES):
        raise StartError(
            f"{where}: nobody gives it {unknown[0]!r}; there are {', '.join(sorted(VARIABLES))}"
        )
    return kind, locale


def _is_language(text: str) -> bool:
    try:
        return language_tag(text) == text
    except ValueError:
        return False


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
