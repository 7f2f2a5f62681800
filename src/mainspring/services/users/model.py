"""The rules of users, sessions, keys and roles. No I/O."""

import base64
import hashlib
import re
import unicodedata
from collections.abc import Iterable
from enum import Enum
from ipaddress import ip_network

import msgspec

from mainspring import Invalid, elapsed_ms, read_at
from mainspring.kernel import email_address
from mainspring.kernel.language_tag import language_tag

PASSWORD_CHARS_MIN = 8  # NIST SP 800-63B, section 5.1.1.2
PASSWORD_CHARS_MAX = 128
PASSWORD_DIFFERENT_CHARS_MIN = 3

HASH_SHAPES_MAX = 20  # kinds of hashes, by form and cost, that users come with

FAILURES_FREE = 5  # wrong passwords before the first wait
FAILURE_WAIT_MS = 1_000  # the first wait; it doubles with each further wrong password
FAILURE_WAIT_MAX_MS = 15 * 60_000
FAILURES_FORGOTTEN_MS = 3_600_000  # after this long without one, counting starts again

MAILS_FREE = 3  # mails of one kind to one address before they come more seldom
MAIL_WAIT_MAX_MS = 3_600_000  # as long as a reset token holds: one of them is always in the mailbox
MAILS_FORGOTTEN_MS = 24 * 3_600_000
READ_TOLD_MS = 3_600_000  # reading the same person again sooner leaves no other event

PARENT_TOLERATED_MS = 10_000

ADMIN_ROLE = "admin"
USER_ROLE = "user"
BUILT_IN_ROLES = frozenset({ADMIN_ROLE, USER_ROLE})
ROLE_PATTERN = r"^[a-z][a-z0-9_]{0,62}$"
SCOPE_PATTERN = r"^(\*|[a-z][a-z0-9_]{0,62}:(\*|[a-z0-9][a-z0-9_.:-]{0,126}))$"

EVERYTHING = "*"  # held by those of whom nobody wrote down what they held

OWNER_ROLE, ORG_ADMIN_ROLE, MEMBER_ROLE = "owner", "admin", "member"  # in an organisation
OWNERS, ADMINS = 2, 1  # how far the power of these roles goes; that of all others not at all
ORGANIZATIONS_MAX = 100  # that one user belongs to: a rule compares with all of them
MEMBERS_MAX = 1_000  # of one organisation, which ends in one commit
INVITATIONS_MAX = 200  # that wait in one organisation

KEY_USED_EVERY_MS = 600_000  # a use sooner after the last one is not noted
KEY_ADDRESSES_MAX = 50
KEY_PREFIX = "msk_"
STREAM_TOKEN_PREFIX = "mst_"  # noqa: S105 - opens a stream
OPEN_STREAM_PREFIX = "mso_"  # what an open stream lives by; it never leaves the process
KEY_SECRET_BYTES = 32
KEY_SHOWN_CHARS = 12

_REFRESH = re.compile(r"msr_([0-9a-z]{26})_([0-9]{1,12})_([A-Za-z0-9_-]{43})", re.ASCII)


# Addresses and passwords


def email(text: str, pointer: str = "/email") -> str:
    """Return an address in its normal form. Raises Invalid at ``pointer``."""
    return read_at(pointer, email_address.email_address, text)


def locale(text: str | None) -> str:
    """Return a language as it is stored, '' of none. Raises Invalid at ``/locale``."""
    return "" if text is None else read_at("/locale", language_tag, text)


def email_key(text: str) -> str:
    """Return what two spellings of one address have in common; never fails."""
    try:
        return email_address.email_key(text)
    except ValueError:
        return former_email_key(text)  # nobody's


def former_email_key(text: str) -> str:
    """Return the key as it was stored until domains were kept as DNS has them."""
    return unicodedata.normalize("NFKC", text.strip()).casefold()


def password(text: str, address: str, pointer: str = "/password") -> str:
    """Return a new password in NFC. Raises Invalid at ``pointer`` when a rule is broken.

    NIST SP 800-63B: a length, no composition rules, and nothing made of the owner's address: what
    is left without that must still be long enough.
    """
    normal = unicodedata.normalize("NFC", text)
    if not PASSWORD_CHARS_MIN <= len(normal) <= PASSWORD_CHARS_MAX:
        detail = f"a password has {PASSWORD_CHARS_MIN} to {PASSWORD_CHARS_MAX} characters"
        raise Invalid.at(pointer, detail)
    folded = normal.casefold()
    if len(set(folded)) < PASSWORD_DIFFERENT_CHARS_MIN:
        raise Invalid.at(pointer, "repeats the same characters over and over: choose another")
    name = email_key(address).partition("@")[0]
    left = folded.replace(email_key(address), "").replace(former_email_key(address), "")
    left = left.replace(name, "") if len(name) >= 3 else left
    if left != folded and len(left) < PASSWORD_CHARS_MIN:
        raise Invalid.at(pointer, "is too close to the e-mail address: choose another password")
    return normal


def typed_password(text: str) -> str:
    """Return a password as somebody typed it now, in the form it is compared in."""
    return unicodedata.normalize("NFC", text)


# Organisations


def organization_name(text: str) -> str:
    """Return the name of an organisation as it is kept. Raises Invalid.

    It stands in mails to strangers, so it is one line that no mail program makes a link of.
    """
    name = unicodedata.normalize("NFC", text).strip()
    if not name or any(unicodedata.category(char)[0] == "C" for char in name):
        raise Invalid.at("/name", "is one line of text with something in it")
    if "://" in name or "www." in name.casefold() or "@" in name:
        raise Invalid.at("/name", "holds a link or an address: choose a name without")
    return name


def organization_role(text: str) -> str:
    """Return the name of a role in an organisation. Raises Invalid."""
    if re.fullmatch(ROLE_PATTERN.removesuffix("$"), text) is None:
        raise Invalid.at(
            "/role", "must be lower case letters, digits and '_', and begin with a letter"
        )
    return text


def power(role: str) -> int:
    """How far a role goes in its organisation: ``OWNERS``, ``ADMINS``, or 0."""
    return {OWNER_ROLE: OWNERS, ORG_ADMIN_ROLE: ADMINS}.get(role, 0)


def manages(held: int, *roles: str) -> bool:
    """Tell whether who has this power makes and changes members of these roles.

    Owners do with all; admins with those who are neither.
    """
    return held >= OWNERS or (held >= ADMINS and all(power(role) == 0 for role in roles))


# Throttling


def wait_ms(failures: int, failed_ms: int, now_ms: int) -> int:
    """How long an account still refuses passwords after so many wrong ones; 0 when it does not.

    The wait doubles up to a quarter of an hour and always ends.
    """
    ago_ms = elapsed_ms(failed_ms, now_ms)
    if failures < FAILURES_FREE or ago_ms >= FAILURES_FORGOTTEN_MS:
        return 0
    doublings = min(failures - FAILURES_FREE, 20)
    wait = min(FAILURE_WAIT_MS << doublings, FAILURE_WAIT_MAX_MS)
    return max(0, wait - ago_ms)


def mail_wait_ms(mails: int, mailed_ms: int, now_ms: int, first_ms: int, every_ms: int) -> int:
    """How long there is still no other mail of a kind after so many; 0 when there is one.

    ``first_ms`` lies between the first ones, then ``every_ms``, which doubles up to an hour.
    """
    ago_ms = elapsed_ms(mailed_ms, now_ms)
    if mails == 0 or ago_ms >= MAILS_FORGOTTEN_MS:
        return 0
    wait = first_ms if mails < MAILS_FREE else every_ms << min(mails - MAILS_FREE, 20)
    return max(0, min(wait, max(every_ms, MAIL_WAIT_MAX_MS)) - ago_ms)


def tells_of_failure(failures: int) -> bool:
    """Tell whether this wrong password in a row leaves an event: the 1st, 5th, 10th, 20th, 40th …

    So a long attack on one account leaves few.
    """
    if failures == 1:
        return True
    rounds, rest = divmod(failures, FAILURES_FREE)
    return rest == 0 and rounds & (rounds - 1) == 0


# Refresh tokens


class RefreshToken(msgspec.Struct, frozen=True):
    """A refresh token taken apart: whose, the how-manieth, and the proof that we made it."""

    session_id: str
    generation: int
    proof: bytes

    def text(self) -> str:
        """Write it as the client holds it."""
        proof = base64.urlsafe_b64encode(self.proof).rstrip(b"=").decode()
        return f"msr_{self.session_id.removeprefix('sess_')}_{self.generation}_{proof}"


def refresh_token(text: str) -> RefreshToken | None:
    """Take a refresh token apart; None when it has another form."""
    match = _REFRESH.fullmatch(text)
    if match is None:
        return None
    proof = base64.urlsafe_b64decode(match[3] + "=")
    token = RefreshToken(f"sess_{match[1]}", int(match[2]), proof)
    return token if token.text() == text else None  # one token has one spelling


class RefreshDecision(Enum):
    """What to do with a genuine refresh token."""

    ROTATE = "rotate"
    REPEAT = "repeat"
    REVOKE = "revoke"


def judge(generation: int, newest: int, rotated_ms: int, now_ms: int) -> RefreshDecision:
    """Decide what a token of ``generation`` gets when the family's newest is ``newest``.

    The parent of the newest is answered with the newest again for a while: its answer was lost, or
    two tabs refreshed at once. Any other old token was used by two parties: the family ends.
    """
    if generation == newest:
        return RefreshDecision.ROTATE
    if generation == newest - 1 and elapsed_ms(rotated_ms, now_ms) <= PARENT_TOLERATED_MS:
        return RefreshDecision.REPEAT
    return RefreshDecision.REVOKE


# Keys, scopes and roles


def key_text(secret: bytes) -> str:
    """Write an API key from its random bytes."""
    return KEY_PREFIX + base64.urlsafe_b64encode(secret).rstrip(b"=").decode()


def networks(addresses: Iterable[str]) -> list[str]:
    """Return networks in their normal form: ``10.1.2.3`` is ``10.1.2.3/32``. Raises Invalid."""
    found = []
    for i, text in enumerate(addresses):
        try:
            found.append(str(ip_network(text.strip(), strict=False)))
        except ValueError:
            raise Invalid.at(
                f"/addresses/{i}",
                "must be an address or network, as 192.0.2.7, 192.0.2.0/24 or ::1",
            ) from None
    return found


def secret_hash(text: str) -> bytes:
    """SHA-256 of a key or a mailed token; 256 random bits need no slower hash."""
    return hashlib.sha256(text.encode()).digest()


def words(text: str) -> list[str]:
    """Read a stored list of scopes or roles: sorted, each once."""
    return sorted(set(text.split()))


def stored(values: Iterable[str]) -> str:
    """Write a list of scopes or roles as it is stored: sorted, each once, between spaces."""
    return " ".join(sorted(set(values)))


def allows(scopes: Iterable[str], scope: str) -> bool:
    """Tell whether scopes hold this one: itself, its ``service:*``, or ``*``."""
    held = set(scopes)
    return bool(held & {scope, "*", scope.partition(":")[0] + ":*"})


def is_wide(scope: str) -> bool:
    """Tell whether a scope holds others, or lets one change who may do what."""
    service, _, what = scope.partition(":")
    return what in {"", "*"} or (service in {"users", "roles", "api_keys"} and what == "write")


def both(one: Iterable[str], other: Iterable[str]) -> frozenset[str]:
    """Return the scopes that both sides hold, wildcards taken into account."""
    left, right = set(one), set(other)
    return frozenset(
        {scope for scope in left if allows(right, scope)}
        | {scope for scope in right if allows(left, scope)}
    )
