"""Checking passkeys (WebAuthn Level 3): what the browser is asked, and what it answers.

The challenge that a passkey signs is the token of a ticket: it is found by what was signed, holds
for five minutes, and is spent with the commit that it allows. Logging in, stepping up and changing
factors check alike. Not in ``second_factor.py`` because a passkey is a first factor as well.
"""

import asyncio
import json
from collections.abc import Sequence
from enum import StrEnum
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from mainspring import Call, Invalid, Rerun
from mainspring.ports.keyring import Keyring
from mainspring.services.users import api, store, tickets
from mainspring.services.users.api.errors import PasskeysOff
from mainspring.services.users.api.relying_party import RelyingParty, relying_party
from mainspring.services.users.api.structs import PasskeyOptions
from mainspring.services.users.mailing import Purpose, notify
from mainspring.services.users.store import PASSKEYS, KnownUser, PasskeyRow, TicketRow

if TYPE_CHECKING:
    from webauthn.helpers import structs

log = structlog.get_logger()

PACKAGE = "webauthn"
CEREMONY_S = 300  # from the options to what the browser answers
CREDENTIAL_BYTES_MAX = 1_023  # of an authenticator's id of a passkey (WebAuthn Level 3, 4)
CLIENT_DATA_CHARS_MAX = 8_192
# A key was used, somebody was there (RFC 8176), and the authenticator knew who: two factors.
AMR = ("pop", "user", "mfa")
# EdDSA, ES256 and RS256: what authenticators have (the names of COSE, RFC 9053).
ALGORITHMS = (-8, -7, -257)


class Ceremony(StrEnum):
    """What a passkey is asked for; a ticket of one is no good for another."""

    ENROL = "passkey_enrolment"
    LOG_IN = "passkey_log_in"
    FACTOR = "passkey_factor"


class Ceremonial(msgspec.Struct, frozen=True):
    """What the ticket of a ceremony remembers: nothing but whose and which it is."""


def offered_at(settings: api.UsersSettings, origin: str) -> bool:
    """Tell whether pages of an origin use passkeys."""
    return origin in settings.passkey_origins and find_spec(PACKAGE) is not None


async def party(call: Call) -> RelyingParty:
    """Return whom passkeys are for, with the library at hand. Raises PasskeysOff."""
    settings = call.use(api.UsersSettings)
    found = relying_party(settings.passkey_rp_id, settings.passkey_origins)
    if found is None:
        raise PasskeysOff("[users] passkey_origins names no page that uses passkeys")
    if find_spec(PACKAGE) is None:
        raise PasskeysOff(
            f"passkeys need the package {PACKAGE}: pip install '.[passkeys]' in a checkout"
        )
    # Apart from the event loop: it takes a while, once.
    await asyncio.to_thread(import_module, PACKAGE)
    return found


def handle_of(call: Call, user_id: str) -> bytes:
    """Return what authenticators know a user by: it tells nothing of them, and never changes."""
    return call.use(Keyring).fingerprint(user_id.encode(), purpose="users.passkey_handle")


async def of_user(call: Call, user_id: str) -> list[PasskeyRow]:
    """Return a user's passkeys; their number is bounded."""
    whose = {"tenant": call.tenant, "user_id": user_id}
    return list(await call.all(store.PASSKEYS_OF, **whose, after="", limit=api.PASSKEYS_MAX))


async def begin_enrolment(call: Call, user: KnownUser) -> PasskeyOptions:
    """Stage a ticket, and return what makes a passkey that only this user can use."""
    site = await party(call)
    from webauthn import generate_registration_options
    from webauthn.helpers import structs
    from webauthn.helpers.cose import COSEAlgorithmIdentifier

    known = await of_user(call, user.id)
    token = tickets.issue(call, Ceremony.ENROL, Ceremonial(), CEREMONY_S, user.id)
    options = generate_registration_options(
        rp_id=site.id,
        rp_name=call.use(api.UsersSettings).product,
        user_id=handle_of(call, user.id),
        user_name=user.email,
        user_display_name=user.display_name or user.email,
        challenge=token.encode(),
        timeout=CEREMONY_S * 1000,
        authenticator_selection=structs.AuthenticatorSelectionCriteria(
            resident_key=structs.ResidentKeyRequirement.REQUIRED,
            user_verification=structs.UserVerificationRequirement.REQUIRED,
        ),
        exclude_credentials=_descriptors(known),
        supported_pub_key_algs=[COSEAlgorithmIdentifier(number) for number in ALGORITHMS],
    )
    return _options(options)


async def begin(
    call: Call, ceremony: Ceremony, user_id: str | None, allowed: Sequence[PasskeyRow]
) -> PasskeyOptions:
    """Stage a ticket, and return what asks for a passkey: any, or one of those ``allowed``."""
    site = await party(call)
    from webauthn import generate_authentication_options
    from webauthn.helpers.structs import UserVerificationRequirement

    token = tickets.issue(call, ceremony, Ceremonial(), CEREMONY_S, user_id)
    options = generate_authentication_options(
        rp_id=site.id,
        challenge=token.encode(),
        timeout=CEREMONY_S * 1000,
        allow_credentials=_descriptors(allowed),
        user_verification=UserVerificationRequirement.REQUIRED,
    )
    return _options(options)


async def enrolled(call: Call, user: KnownUser, given: dict[str, Any], name: str) -> PasskeyRow:
    """Return the passkey that the browser made for the options, and stage that these are spent.

    Raises Invalid.
    """
    site = await party(call)
    ticket = await _ticket(call, Ceremony.ENROL, given)
    if ticket is None or ticket.user_id != user.id:
        raise Invalid.at("/credential", "answers no options that hold: begin again")
    verified = _verified_enrolment(site, tickets.text_of(call, ticket), given)
    if verified is None or not 0 < len(verified.credential_id) <= CREDENTIAL_BYTES_MAX:
        raise Invalid.at(
            "/credential",
            "is not what one of the pages in passkey_origins made for these options, of a user whom"
            " the authenticator has verified",
        )
    tickets.spend(call, ticket, Rerun)
    return PasskeyRow(
        id=call.new_id("pkey"),
        tenant=call.tenant,
        version=1,
        user_id=user.id,
        credential=verified.credential_id,
        public_key=verified.credential_public_key,
        sign_count=verified.sign_count,
        name=name.strip(),
        transports=_transports(given),
        aaguid=verified.aaguid,
        backup_eligible=verified.credential_device_type == "multi_device",
        backed_up=verified.credential_backed_up,
        created_ms=call.now_ms,
        used_ms=None,
    )


async def prove(
    call: Call, ceremony: Ceremony, given: dict[str, Any], user_id: str | None
) -> PasskeyRow | None:
    """Return the passkey that signed what was asked, and stage that it has; None where none did.

    A passkey whose count of signatures went back is None, and leaves marks: raise a failure that
    keeps what is staged.
    """
    site = await party(call)
    ticket = await _ticket(call, ceremony, given)
    if ticket is None or ticket.user_id != user_id:
        _refuse(call, "challenge", user_id)
        return None
    row = await _known(call, given)
    if row is None or user_id not in (None, row.user_id):
        _refuse(call, "credential", user_id)
        return None
    if not _handle_fits(call, row, given, needed=user_id is None):
        _refuse(call, "user handle", row.user_id)
        return None
    token = tickets.text_of(call, ticket)
    count = _verified_count(site, token, row, given)
    if count is None:
        _refuse(call, "signature", row.user_id)
        return None
    tickets.spend(call, ticket, Rerun)
    new_count, backed_up = count
    # 0 is what authenticators say that do not count, as those whose passkeys are copied.
    if (new_count or row.sign_count) and new_count <= row.sign_count:
        await _tell_of_copy(call, row)
        _refuse(call, "sign count", row.user_id)
        return None
    used = {"sign_count": new_count, "backed_up": backed_up, "used_ms": call.now_ms}
    call.write(PASSKEYS.update(row, **used))
    return row


async def _tell_of_copy(call: Call, row: PasskeyRow) -> None:
    call.emit(api.PasskeyRefused(row.user_id, row.id))
    user = await call.find(store.USER, id=row.user_id, tenant=call.tenant)
    if user is not None:
        await notify(call, user, Purpose.PASSKEY_REFUSED)


def _refuse(call: Call, what: str, user_id: str | None) -> None:
    log.warning("wrong_passkey", what=what, user_id=user_id, request_id=call.request_id)


async def _ticket(call: Call, ceremony: Ceremony, given: dict[str, Any]) -> TicketRow | None:
    """Return the ticket whose token was signed; None where it does not hold, or was framed.

    A page that was shown inside somebody else's is refused (WebAuthn Level 3, 13.4.9).
    """
    from webauthn.helpers import base64url_to_bytes

    text = _text(given.get("response"), "clientDataJSON")
    if not 0 < len(text) <= CLIENT_DATA_CHARS_MAX:
        return None
    try:
        said = json.loads(base64url_to_bytes(text))
        token = base64url_to_bytes(_text(said, "challenge")).decode()
    except (ValueError, RecursionError):
        return None
    if not isinstance(said, dict) or said.get("crossOrigin") not in (None, False):
        return None
    return await tickets.find(call, ceremony, token)


async def _known(call: Call, given: dict[str, Any]) -> PasskeyRow | None:
    from webauthn.helpers import base64url_to_bytes

    try:
        credential = base64url_to_bytes(_text(given, "id"))
    except ValueError:
        return None
    if not 0 < len(credential) <= CREDENTIAL_BYTES_MAX:
        return None
    of_credential = {"tenant": call.tenant, "credential": credential}
    return await call.find(store.PASSKEY_BY_CREDENTIAL, **of_credential)


def _handle_fits(call: Call, row: PasskeyRow, given: dict[str, Any], *, needed: bool) -> bool:
    """Tell whether the authenticator names the passkey's user (WebAuthn Level 3, 7.2, step 6)."""
    from webauthn.helpers import bytes_to_base64url

    said = _text(given.get("response"), "userHandle")
    if not said:
        return not needed
    return said.rstrip("=") == bytes_to_base64url(handle_of(call, row.user_id))


def _verified_enrolment(site: RelyingParty, token: str, given: dict[str, Any]) -> Any:
    """Return the library's VerifiedRegistration, None where it does not hold."""
    from webauthn import verify_registration_response
    from webauthn.helpers.cose import COSEAlgorithmIdentifier

    try:
        return verify_registration_response(
            credential=given,
            expected_challenge=token.encode(),
            expected_rp_id=site.id,
            expected_origin=list(site.origins),
            require_user_verification=True,
            supported_pub_key_algs=[COSEAlgorithmIdentifier(number) for number in ALGORITHMS],
        )
    except Exception as error:  # noqa: BLE001 - it reads what a stranger wrote, in three encodings
        log.warning("wrong_passkey", what="enrolment", error=_said(error))
        return None


def _verified_count(
    site: RelyingParty, token: str, row: PasskeyRow, given: dict[str, Any]
) -> tuple[int, bool] | None:
    """Return how often a passkey says that it signed, and whether it is backed up."""
    from webauthn import verify_authentication_response

    try:
        verified = verify_authentication_response(
            credential=given,
            expected_challenge=token.encode(),
            expected_rp_id=site.id,
            expected_origin=list(site.origins),
            credential_public_key=row.public_key,
            credential_current_sign_count=0,  # compared by the caller, who tells of it
            require_user_verification=True,
        )
    except Exception as error:  # noqa: BLE001 - as above
        log.warning("wrong_passkey", what="assertion", error=_said(error))
        return None
    if (verified.credential_device_type == "multi_device") != row.backup_eligible:
        return None  # it never changes (WebAuthn Level 3, 7.2, step 19)
    return verified.new_sign_count, verified.credential_backed_up


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:300]


def _descriptors(rows: Sequence[PasskeyRow]) -> "list[structs.PublicKeyCredentialDescriptor]":
    from webauthn.helpers import structs

    return [
        structs.PublicKeyCredentialDescriptor(
            id=row.credential,
            transports=[structs.AuthenticatorTransport(name) for name in row.transports.split()],
        )
        for row in rows
    ]


def _transports(given: dict[str, Any]) -> str:
    """Return how the browser says that the authenticator is reached, as far as that is known."""
    from webauthn.helpers.structs import AuthenticatorTransport

    response = given.get("response")
    said = response.get("transports") if isinstance(response, dict) else None
    known = {transport.value for transport in AuthenticatorTransport}
    found = {name for name in said if isinstance(name, str)} if isinstance(said, list) else set()
    return " ".join(sorted(found & known))


def _options(options: Any) -> PasskeyOptions:
    from webauthn.helpers import options_to_json_dict

    return PasskeyOptions(options_to_json_dict(options), CEREMONY_S)


def _text(holder: object, name: str) -> str:
    value = holder.get(name) if isinstance(holder, dict) else None
    return value if isinstance(value, str) else ""
