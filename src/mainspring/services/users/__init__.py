"""Users, their sessions, API keys and roles: who may call, and with which scopes.

Owns ``users_users``, ``users_roles``, ``users_grants``, ``users_sessions``, ``users_api_keys``,
``users_first_key``, ``users_mail_tokens``, ``users_failures``, ``users_oauth_*`` and
``users_signing_keys``. Emits ``users.user.*``, ``users.password.changed``, ``users.session.*``,
``users.api_key.*``, ``users.role.*`` and ``users.oauth_*``; consumes nothing. Needs the keyring,
mail, ``Entropy`` and ``UsersSettings``; provides ``Passwords``, ``Authenticator`` and
``Authority``.
"""

from mainspring.services.users.api import service

__all__ = ["service"]
