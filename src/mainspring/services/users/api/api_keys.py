"""Contracts of what is done with API keys."""

from mainspring import Call, Page, PageQuery, Response
from mainspring.kernel.errors import StepUpRequired
from mainspring.services.users.api.errors import ScopeNotHeld, TooManyApiKeys
from mainspring.services.users.api.settings import API_KEYS_OWN, RECOVER, service
from mainspring.services.users.api.structs import (
    ApiKey,
    KeyLineage,
    MadeApiKey,
    NewApiKey,
    Recovery,
)


@service.contract.operation(
    "POST /v1/api_keys",
    scope=API_KEYS_OWN,
    status=201,
    secret=True,
    raises=(ScopeNotHeld, TooManyApiKeys, StepUpRequired),
)
async def create_api_key(call: Call, new: NewApiKey) -> Response[MadeApiKey]:
    """Make an API key; the key itself is shown this once. Emits users.api_key.created.

    It never does more than its maker may, now or later, and ends with its maker: a key when that
    key expires or is revoked, and everything a user made when the user goes or resets the password.
    A user who gives it a wide scope (``*``, ``service:*``, or to write users, roles or API keys)
    must have logged in, or stepped up, within 15 minutes: step_up_required.
    """


@service.contract.operation("GET /v1/api_keys", scope=API_KEYS_OWN)
async def list_api_keys(call: Call, query: PageQuery) -> Page[ApiKey]:
    """List API keys, the oldest first: all with the scope api_keys:read, else your own.

    A key that belongs to no user lists those that were made with it.
    """


@service.contract.operation("GET /v1/api_keys/{id}", scope=API_KEYS_OWN)
async def get_api_key(call: Call, id: str) -> Response[ApiKey]:
    """Read what is known of an API key; the key itself is not."""


@service.contract.operation("GET /v1/api_keys/{key_id}/lineage", scope=API_KEYS_OWN)
async def get_key_lineage(call: Call, key_id: str) -> KeyLineage:
    """Read which keys a key was made with, and which end when it is revoked."""


@service.contract.operation("DELETE /v1/api_keys/{id}", scope=API_KEYS_OWN, raises=(ScopeNotHeld,))
async def delete_api_key(call: Call, id: str) -> None:
    """Revoke an API key and every key made with it; before this is answered they hold no more.

    Your own, and those made with it; of others those that do no more than you. Emits
    users.api_key.revoked for each.
    """


@service.contract.operation("POST /v1/api_keys:recover", scope=RECOVER, status=204)
async def recover_api_key(call: Call, wanted: Recovery) -> None:
    """Make the key with every scope that the machine itself asks for.

    Only `mainspring admin key --recover` can: no key or user is a machine, whatever they hold.
    Emits users.api_key.created, users.api_key.recovered.
    """
