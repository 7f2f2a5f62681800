"""What the users service refuses, and why."""

from mainspring import (
    Conflict,
    Failure,
    Forbidden,
    Invalid,
    RateLimited,
    Unauthenticated,
    Unavailable,
)


class EmailTaken(Conflict):
    """Somebody has signed up with this address. Said to those who may write users."""

    code, title = "email_taken", "The e-mail address is taken"


class SignUpClosed(Forbidden):
    """Settings let only administrators make users."""

    code, title = "sign_up_closed", "Sign-up is closed"


class WrongCredentials(Unauthenticated):
    """No such address, or not its password: nobody learns which. It is counted."""

    code, title = "wrong_credentials", "Wrong e-mail address or password"
    commits_on_failure = True


class AccountDisabled(Forbidden):
    """An administrator has disabled the account. Said only to who has proved to be its user."""

    code, title = "account_disabled", "The account is disabled"


class WrongPassword(Forbidden):
    """Not the caller's password. It is counted."""

    code, title = "wrong_password", "Wrong password"
    commits_on_failure = True


class PasswordThrottled(RateLimited):
    """Too many wrong passwords for this address; it waits, whoever asks."""

    code, title = "password_throttled", "Too many wrong passwords"


class FactorRequired(Unauthenticated):
    """The first factor holds; ``challenge`` and one of ``factors`` complete the log-in."""

    code, title = "factor_required", "A second factor is required"
    commits_on_failure = True


class WrongFactor(Forbidden):
    """Not a code of this user, or one that was used. It is counted."""

    code, title = "wrong_factor", "Wrong code"
    commits_on_failure = True


class FactorThrottled(RateLimited):
    """Too many wrong codes for this user; it waits, whoever asks."""

    code, title = "factor_throttled", "Too many wrong codes"


class ChallengeInvalid(Unauthenticated):
    """Not a challenge that was given out for this, or it was used or has expired."""

    code, title = "challenge_invalid", "The challenge is not valid"


class FactorEnrolled(Conflict):
    """An authenticator app is in use; it must be disabled before another is enrolled."""

    code, title = "factor_enrolled", "An authenticator app is in use"


class FactorMissing(Conflict):
    """No authenticator app is enrolled, or none is confirmed; or there are no passkeys."""

    code, title = "factor_missing", "No such factor is in use"


class CaptchaRequired(Forbidden):
    """Settings ask whoever does this to solve a task first: send its token as ``captcha``."""

    code, title = "captcha_required", "Solve the task of the page first"


class CaptchaRefused(Forbidden):
    """The token of the task is not good, was used, or is of another page."""

    code, title = "captcha_refused", "The task was not solved"


class PasskeysOff(Forbidden):
    """Settings name no pages that use passkeys, or the package that checks them is missing."""

    code, title = "passkeys_off", "Passkeys are off here"


class WrongPasskey(Unauthenticated):
    """Not a passkey of somebody here, or it signed something else than it was asked to."""

    code, title = "wrong_passkey", "The passkey is refused"
    commits_on_failure = True


class PasskeyTaken(Conflict):
    """This passkey is registered already."""

    code, title = "passkey_taken", "The passkey is registered already"


class TooManyPasskeys(Conflict):
    """A user holds as many passkeys as one may."""

    code, title = "too_many_passkeys", "Too many passkeys"


class LoginRefused(Unauthenticated):
    """The log-in was not begun here, or has expired, or the issuer's word does not hold."""

    code, title = "login_refused", "The log-in is refused"


class IssuerUnavailable(Unavailable):
    """The issuer cannot be reached, or answers with an error."""

    code, title = "issuer_unavailable", "The issuer is not available"


class LinkRequired(Conflict):
    """Somebody has an account of this address: log in there and link the issuer to it."""

    code, title = "link_required", "Log in and link this issuer to your account"


class AddressMissing(Conflict):
    """The issuer does not tell an address, or one that must be proved before it logs in."""

    code, title = "address_missing", "The issuer tells no address that counts"


class IdentityTaken(Conflict):
    """Who you are at the issuer is linked to another account."""

    code, title = "identity_taken", "Linked to another account"


class LastWayIn(Conflict):
    """Nothing else would let you in: set a password, link an issuer or add a passkey first."""

    code, title = "last_way_in", "This is the last way in"


class MailThrottled(RateLimited):
    """You had too many mails sent, or to too many addresses."""

    code, title = "mail_throttled", "Too many mails"


class LogInLinksOff(Forbidden):
    """Settings do not let anyone log in by mail."""

    code, title = "log_in_links_off", "Nobody logs in by mail here"


class WrongLogInCode(Unauthenticated):
    """Not the code that was mailed for this request, or it holds no more. It is counted."""

    code, title = "wrong_log_in_code", "Wrong code"
    commits_on_failure = True


class LogInThrottled(RateLimited):
    """Too many wrong codes for this address; it waits, whoever asks. The link still works."""

    code, title = "log_in_throttled", "Too many wrong codes"


class BadRefreshToken(Unauthenticated):
    """Not a refresh token of a live session."""

    code, title = "refresh_token_invalid", "The refresh token is not valid"


class RefreshTokenReused(Unauthenticated):
    """An old refresh token came back: two parties hold it, so its session is ended."""

    code, title = "refresh_token_reused", "The refresh token was used before"
    commits_on_failure = True


class BadMailToken(Invalid):
    """Not a token that was mailed, or it was used or has expired."""

    code, title = "token_invalid", "The token is not valid"


class SessionNeeded(Forbidden):
    """An API key cannot do this; a person who logged in can."""

    code, title = "session_needed", "Log in to do this"


class ScopeNotHeld(Forbidden):
    """Nobody gives, or acts on, more than they hold."""

    code, title = "scope_not_held", "You do not hold these scopes yourself"


class RoleBeyondYours(Forbidden):
    """Your role in the organisation does not reach so far."""

    code, title = "role_beyond_yours", "Your role does not reach so far"


class LastOwner(Conflict):
    """An organisation has an owner; this is its last."""

    code, title = "last_owner", "This is the last owner"


class AlreadyMember(Conflict):
    """Somebody with this address belongs to the organisation."""

    code, title = "already_member", "Belongs to the organisation already"


class InvitationExists(Conflict):
    """This address is invited into the organisation already."""

    code, title = "invitation_exists", "The address is invited already"


class AddressNotProved(Forbidden):
    """An invitation is for the account that has proved its address."""

    code, title = "address_not_proved", "Not the proved address of your account"


class TooManyOrganizations(Conflict):
    """One belongs to as many organisations as one may."""

    code, title = "too_many_organizations", "Too many organisations"


class TooManyMembers(Conflict):
    """An organisation has as many members as one may."""

    code, title = "too_many_members", "Too many members"


class TooManyInvitations(Conflict):
    """As many invitations into the organisation wait as may."""

    code, title = "too_many_invitations", "Too many invitations"


class NotToImpersonate(Conflict):
    """This user is nobody to act as: disabled, or one who administrates accounts."""

    code, title = "not_to_impersonate", "Nobody acts as this user"


class ImpersonationThrottled(RateLimited):
    """Somebody acts as too many users, or began too often."""

    code, title = "impersonation_throttled", "Too many users acted as"


class RoleTaken(Conflict):
    """There is a role of this name."""

    code, title = "role_taken", "A role of this name exists already"


class RoleBuiltIn(Conflict):
    """The platform itself needs this role as it is."""

    code, title = "role_built_in", "The role is built in"


class TooManyApiKeys(Conflict):
    """A user holds as many keys as one may."""

    code, title = "too_many_api_keys", "Too many API keys"


class ConsentRequired(Conflict):
    """The user has not said yet whether ``client_name``, at ``origin``, may have ``scopes``."""

    code, title = "consent_required", "The user must be asked"


class OAuthRefused(Failure):
    """A client's request that does not fit; ``error`` says why, in the words of RFC 6749, 5.2."""

    status, code, title = 400, "oauth_refused", "The request of the client does not fit"

    @classmethod
    def of(cls, error: str, detail: str) -> "OAuthRefused":
        """Make one with a word of the protocol."""
        return cls(detail, extra={"error": error})


class GrantReplayed(OAuthRefused):
    """A code or refresh token came twice: two parties hold it, so all that came of it is ended."""

    code, title = "oauth_grant_replayed", "The code or refresh token was used before"
    commits_on_failure = True


class ClientRefused(OAuthRefused):
    """Not a client that is registered, or not its secret (RFC 6749, 5.2: invalid_client)."""

    status, code, title = 401, "oauth_client_refused", "The client is unknown"


class AccessTokenRefused(Unauthenticated):
    """Not an access token of another application, or it holds no more (RFC 6750, 3.1)."""

    code, title = "oauth_token_refused", "The access token does not hold"


class PageRefused(Failure):
    """A browser came with what does not fit, and nobody is known to whom it could be sent back."""

    status, code, title = 400, "oauth_page_refused", "This log-in cannot go on"
