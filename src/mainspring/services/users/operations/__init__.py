"""The operations, by what they are about. Importing this declares them."""

from mainspring.services.users.operations import (
    accounts,
    api_keys,
    impersonations,
    imports,
    invitations,
    logins,
    magic_links,
    oauth_clients,
    oauth_pages,
    oauth_tokens,
    organizations,
    passkeys,
    passwords,
    roles,
    second_factor,
    sessions,
    stream_tokens,
)

__all__ = [
    "accounts", "api_keys", "impersonations", "imports", "invitations", "logins", "magic_links",
    "oauth_clients", "oauth_pages", "oauth_tokens", "organizations", "passkeys", "passwords",
    "roles", "second_factor", "sessions", "stream_tokens",
]  # fmt: skip
