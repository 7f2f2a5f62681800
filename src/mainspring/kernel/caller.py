"""Whoever a call is made for."""

import msgspec

TENANT_DEFAULT = "main"
ADDRESS_ACCOUNT = "address "  # begins the account of a caller that is known by its address only


class Impersonation(msgspec.Struct, frozen=True):
    """Somebody else acts as a user: ``by`` is the id of who does. Without ``writes`` they look."""

    by: str
    writes: bool


class Caller(msgspec.Struct, frozen=True, weakref=True):
    """Whoever a call is made for. ``id`` is null for anonymous callers.

    While somebody acts as a user the caller is that user, and ``impersonation`` says who acts.
    """

    kind: str  # "anonymous", "user", "key" or "system"
    id: str | None = None
    tenant: str = TENANT_DEFAULT
    scopes: frozenset[str] = frozenset()
    session_id: str | None = None
    auth_ms: int | None = None  # when a user who logged in last proved who they are
    impersonation: Impersonation | None = None

    def allows(self, scope: str) -> bool:
        """Tell whether the scopes hold this one: itself, its ``service:*``, or ``*``."""
        scopes = self.scopes
        return scope in scopes or "*" in scopes or scope.split(":", 1)[0] + ":*" in scopes

    @property
    def actor(self) -> str:
        """How events name this caller."""
        return self.id or self.kind

    @property
    def impersonator(self) -> str | None:
        """The id of who acts as this user; None where the caller acts for itself."""
        return None if self.impersonation is None else self.impersonation.by


ANONYMOUS = Caller("anonymous")
SYSTEM = Caller("system", scopes=frozenset({"*"}))
