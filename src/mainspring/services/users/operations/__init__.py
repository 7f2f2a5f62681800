"""The operations, by what they are about. Importing this declares them."""

from mainspring.services.users.operations import (
    accounts,
    api_keys,
    passwords,
    roles,
    second_factor,
    sessions,
)

__all__ = ["accounts", "api_keys", "passwords", "roles", "second_factor", "sessions"]
