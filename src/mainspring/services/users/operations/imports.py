"""The operation that takes users over from elsewhere."""

from mainspring import Call, FieldError, Invalid, handles
from mainspring.services.users import access, api, foreign_passwords, model, password_check, store
from mainspring.services.users.api.imports import (
    ImportedUser,
    ImportOutcome,
    ImportReport,
    UserImport,
)
from mainspring.services.users.operations.accounts import stage_user
from mainspring.services.users.store import HASH_SHAPES, HashShapeRow


@handles(api.import_users)
async def import_users(call: Call, batch: UserImport) -> ImportReport:
    await _require_roles(call, batch)
    most = model.HASH_SHAPES_MAX
    rows = await call.all(store.HASH_SHAPES_OF, tenant=call.tenant, limit=most)
    shapes, made = {row.decoy for row in rows}, dict[str, str]()
    outcomes = []
    for at, new in enumerate(batch.users):
        try:
            outcomes.append(await _import(call, new, shapes, made))
        except Invalid as failure:
            errors = [FieldError(f"/users/{at}{e.pointer}", e.detail) for e in failure.errors]
            outcomes.append(ImportOutcome("refused", errors=errors))
    return ImportReport(outcomes)


async def _import(
    call: Call, new: ImportedUser, shapes: set[str], made: dict[str, str]
) -> ImportOutcome:
    """Stage one user. Raises Invalid, with nothing staged."""
    email, locale = model.email(new.email), model.locale(new.locale)
    key = model.email_key(email)
    if key in made:
        return _outcome(call, "known", made[key])
    holder = await password_check.find_user(call, email)
    if holder is not None:
        return _outcome(call, "known", holder.id)
    shape = _shape(new.password_hash)
    if shape is not None and shape not in shapes:
        if len(shapes) >= model.HASH_SHAPES_MAX:
            raise Invalid.at(
                "/password_hash",
                f"is of one kind too many: at most {model.HASH_SHAPES_MAX} forms and costs",
            )
        shapes.add(shape)
        call.write(HASH_SHAPES.insert(HashShapeRow(call.tenant, shape), on_conflict=None))
    user = await stage_user(
        call,
        email,
        display_name=new.display_name,
        verified=new.email_verified,
        password_hash=new.password_hash,
        roles=frozenset(new.roles),
        mails=False,
        locale=locale,
    )
    made[key] = user.id
    return _outcome(call, "created", user.id)


def _shape(hashed: str) -> str | None:
    """Return the decoy of a hash; None where there is none. Raises Invalid for one not taken."""
    if not hashed:
        return None
    try:
        foreign_passwords.require_taken(hashed)
    except ValueError as wrong:
        raise Invalid.at("/password_hash", str(wrong)) from None
    return foreign_passwords.decoy_of(hashed)


def _outcome(call: Call, status: str, id: str) -> ImportOutcome:
    shown = id if call.caller.allows(api.READ) else None
    return ImportOutcome("created" if status == "created" else "known", shown)


async def _require_roles(call: Call, batch: UserImport) -> None:
    """Let only those give roles who hold what they give. Raises ScopeNotHeld, Invalid."""
    for at, new in enumerate(batch.users):
        for i, name in enumerate(new.roles):
            role = await call.find(store.ROLE, tenant=call.tenant, name=name)
            if role is None:
                raise Invalid.at(f"/users/{at}/roles/{i}", f"there is no role {name!r}")
            if name != model.USER_ROLE:
                access.require_held(call, [role.scopes])
