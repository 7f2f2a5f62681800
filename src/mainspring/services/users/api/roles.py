"""Contracts of what is done with roles."""

from mainspring import Call, Page, PageQuery, Response
from mainspring.services.users.api.errors import RoleBuiltIn, RoleTaken, ScopeNotHeld
from mainspring.services.users.api.settings import ROLES_READ, ROLES_WRITE, service
from mainspring.services.users.api.structs import NewRole, Role, RoleChanges


@service.contract.operation(
    "POST /v1/roles", scope=ROLES_WRITE, status=201, raises=(RoleTaken, ScopeNotHeld)
)
async def create_role(call: Call, new: NewRole) -> Response[Role]:
    """Make a role of scopes that you hold yourself. Emits users.role.created."""


@service.contract.operation("GET /v1/roles", scope=ROLES_READ)
async def list_roles(call: Call, query: PageQuery) -> Page[Role]:
    """List roles by name."""


@service.contract.operation("GET /v1/roles/{name}", scope=ROLES_READ)
async def get_role(call: Call, name: str) -> Response[Role]:
    """Read a role."""


@service.contract.operation(
    "PATCH /v1/roles/{name}", scope=ROLES_WRITE, raises=(RoleBuiltIn, ScopeNotHeld)
)
async def update_role(call: Call, name: str, changes: RoleChanges) -> Response[Role | None]:
    """Give a role other scopes; its holders have them at once. Emits users.role.updated.

    The role is answered to those who may read roles, others hear 204.
    """


@service.contract.operation(
    "DELETE /v1/roles/{name}", scope=ROLES_WRITE, raises=(RoleBuiltIn, ScopeNotHeld)
)
async def delete_role(call: Call, name: str) -> None:
    """Delete a role and take it from everyone who holds it. Emits users.role.deleted."""
