"""Users, their sessions, API keys and roles: who may call, and with which scopes.

Owns ``users_users``, ``users_roles``, ``users_grants``, ``users_sessions``, ``users_api_keys``,
``users_first_key``, ``users_mail_tokens``, ``users_failures``, ``users_oauth_*``,
``users_signing_keys``, ``users_organizations``, ``users_members``, ``users_invitations``,
``users_impersonations`` and ``users_hash_shapes``. Emits ``users.user.*``,
``users.password.changed``, ``users.session.*``, ``users.impersonation.*``,
``users.api_key.*``, ``users.role.*``, ``users.oauth_*``, ``users.organization.*``,
``users.member.*`` and ``users.invitation.*``; consumes nothing. Needs the keyring,
mail, ``Entropy`` and ``UsersSettings``; provides ``Passwords``, ``Authenticator`` and
``Authority``.
"""

from mainspring.services.users.api import service

__all__ = ["service"]
