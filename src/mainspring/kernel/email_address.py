"""E-mail addresses: one reading for everybody who takes one.

What is taken is RFC 5321's ``Mailbox`` without quoted locals and address literals, with the
characters beyond ASCII that RFC 6531 adds. A domain is kept in the form that goes into DNS
(IDNA 2008 after the mapping of UTS 46), so that all spellings of one domain are one text.
"""

import re
import unicodedata

import idna

EMAIL_CHARS_MAX = 254  # RFC 5321, section 4.5.3.1.3, less the angle brackets
LOCAL_CHARS_MAX = 64  # RFC 5321, section 4.5.3.1.1

_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\-\u0080-\U0010ffff]+"
_LOCAL = re.compile(rf"{_ATOM}(?:\.{_ATOM})*")


def email_address(text: str) -> str:
    """Return an address in its normal form: no spaces around it, NFC, the domain in ASCII.

    ``" Ann@BÜCHER.example"`` is ``"Ann@xn--bcher-kva.example"``. Upper and lower case of the local
    part are kept: they may be two mailboxes. Raises ValueError for what is no address.
    """
    local, at, domain = text.strip(" ").rpartition("@")
    if not at or len(text) > 2 * EMAIL_CHARS_MAX:
        raise ValueError("not an e-mail address")
    normal = f"{_local(local)}@{_domain(domain)}"
    if len(normal) > EMAIL_CHARS_MAX:
        raise ValueError(f"an e-mail address has at most {EMAIL_CHARS_MAX} characters")
    return normal


def email_key(text: str) -> str:
    """Return what two spellings of one account's address have in common.

    For those to whom ``Ann@`` and ``ann@`` are one person. Raises ValueError for no address.
    """
    local, _, domain = email_address(text).rpartition("@")
    return f"{unicodedata.normalize('NFKC', local).casefold()}@{domain}"


def _local(text: str) -> str:
    """Check a local part. What only looks like a separator (a full-width at sign) is refused."""
    normal = unicodedata.normalize("NFC", text)
    for form in (normal, unicodedata.normalize("NFKC", text)):
        if _LOCAL.fullmatch(form) is None or any(unicodedata.category(c)[0] in "CZ" for c in form):
            raise ValueError("not an e-mail address")
    if len(normal) > LOCAL_CHARS_MAX:
        raise ValueError(f"the part before the @ has at most {LOCAL_CHARS_MAX} characters")
    return normal


def _domain(text: str) -> str:
    try:
        domain = idna.encode(text, uts46=True, std3_rules=True).decode()
    except UnicodeError:
        raise ValueError("not an e-mail address: its domain is not valid") from None
    if domain.endswith(".") or domain.rpartition(".")[2].isdigit():
        raise ValueError("not an e-mail address: it ends in the name of a domain")
    return domain
