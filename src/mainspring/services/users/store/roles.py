"""SQL of roles and who holds them."""

import msgspec

from mainspring import Query, Statement, Table


class RoleRow(msgspec.Struct, frozen=True):
    """A role; ``scopes`` between spaces. The id tells it from a later one of the same name."""

    id: str
    tenant: str
    name: str
    version: int
    scopes: str
    created_ms: int
    updated_ms: int


class GrantRow(msgspec.Struct, frozen=True):
    """That a user holds a role."""

    tenant: str
    user_id: str
    role: str


ROLES = Table("users_roles", RoleRow, key=("id",))
GRANTS = Table("users_grants", GrantRow, key=("tenant", "user_id", "role"))


def held(tenant: str, user: str) -> str:
    """Two columns: the roles of a user, and the scopes they give."""
    return f"""
    COALESCE((SELECT string_agg(g.role, ' ') FROM users_grants g
        WHERE g.tenant = {tenant} AND g.user_id = {user}), ''),
    COALESCE((SELECT string_agg(r.scopes, ' ') FROM users_grants g
        JOIN users_roles r ON r.tenant = g.tenant AND r.name = g.role
        WHERE g.tenant = {tenant} AND g.user_id = {user}), '')"""


ROLE = Query(
    "users.role",
    f"SELECT {ROLES.columns} FROM users_roles WHERE tenant = :tenant AND name = :name",
    ROLES,
)
ROLE_PAGE = Query(
    "users.role_page",
    f"SELECT {ROLES.columns} FROM users_roles WHERE tenant = :tenant AND name > :after"
    " ORDER BY name LIMIT :limit",
    ROLES,
)
TAKE_ROLE_FROM_ALL = Statement(
    "users.take_role_from_all", "DELETE FROM users_grants WHERE tenant = :tenant AND role = :role"
)
TAKE_ALL_ROLES = Statement(
    "users.take_all_roles", "DELETE FROM users_grants WHERE tenant = :tenant AND user_id = :user_id"
)
