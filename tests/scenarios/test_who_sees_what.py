"""Every operation, asked by everybody there is: nothing private stands in any answer to a stranger.

What is private carries a word of its own, so an answer is searched and not read: status, headers,
body, faults. An operation that is new fails here until the table below says how it is asked.
"""

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from mainspring import App
from mainspring.kernel.operation import Kind
from mainspring.testing import Client, HttpAnswer, Platform
from tests.services.jobs.chores import chores

# The word, and the scopes that show what carries it.
WORDS = {
    "hiddenrecord": {"records:read"},
    "hiddenfile": {"records:read"},
    "hiddenperson": {"users:read"},
    "hiddenjob": {"jobs:read"},
    "hiddenhook": {"webhooks:read"},
    "hiddenkey": {"api_keys:read"},
    "hiddenrole": {"roles:read", "users:read"},  # a user is shown with its roles
    "hiddenrule": {"collections:read", "records:explain"},
    "hiddenteam": {"users:read", "users:write"},
    "hiddenclient": {"oauth_clients:read"},
}
OWNER = "record.owner == caller.id"
VAULT = {
    "name": "vault",
    "fields": [
        {"name": "owner", "type": "text"},
        {"name": "text", "type": "text", "unique": True},
        {"name": "amount", "type": "integer"},
        {"name": "scan", "type": "file"},
    ],
    "documents": True,
    "rules": {
        "list": OWNER, "view": f'{OWNER} || record.text == "hiddenrule"', "create": "false",
        "update": OWNER, "delete": OWNER,
    },
}  # fmt: skip
SCOPES = [
    *(f"{name}:read" for name in ("users", "roles", "api_keys", "records", "collections")),
    *(f"{name}:write" for name in ("users", "roles", "api_keys", "records", "collections")),
    "records:explain", "users:own", "users:impersonate", "api_keys:own", "jobs:read", "jobs:write",
    "jobs:admin", "webhooks:read", "webhooks:write", "events:read", "events:personal", "audit:read",
    "metrics:read", "oauth_clients:read", "oauth_clients:write", "mcp:write",
]  # fmt: skip
CALLERS = ["nobody", "user", "revoked", "maker lost it", *SCOPES]
RECORDS = "/v1/collections/vault/records"
# How each operation is asked: a path, and a body where it takes one. {…} is what was seeded.
ASKED: dict[str, list[tuple[str, Any]]] = {
    "records.list_records": [
        (RECORDS, None),
        (RECORDS + "?sort=-text", None),
        (RECORDS + "?total=exact", None),
        (RECORDS + "?filter=text.startsWith('hidden')", None),
    ],
    "records.stream_records": [(RECORDS + ":stream", None)],
    "records.stream_record": [(RECORDS + "/{record}:stream", None)],
    "records.aggregate_records": [(RECORDS + ":aggregate?max=text&count=true&group=text", None)],
    "records.find_documents": [
        (RECORDS + ":find", {}),
        (RECORDS + ":find", {"filter": {"$or": [{}, {"text": {"$regex": "^hidden"}}]}}),
        (RECORDS + ":find", {"sort": {"text": -1}, "projection": {"text": 1}}),
    ],
    "records.aggregate_documents": [
        (
            RECORDS + ":aggregate",
            {"pipeline": [{"$group": {"_id": "$text", "all": {"$push": "$text"}}}]},
        ),
        (RECORDS + ":aggregate", {"pipeline": [{"$match": {"owner": {"$ne": 1}}}]}),
    ],
    "records.explain_rule": [
        (RECORDS + ":explain", {"action": "view", "record": "{record}", "caller": "nobody"}),
        (RECORDS + ":explain", {"action": "create", "data": {"text": 1}}),
    ],
    "records.get_record": [(RECORDS + "/{record}", None), (RECORDS + "/{record}?expand=x", None)],
    "records.get_file": [(RECORDS + "/{record}/files/scan", None)],
    "records.link_file": [(RECORDS + "/{record}/files/scan:link", {})],
    "records.get_linked_file": [("/v1/linked_files/x", None)],
    "records.begin_upload": [
        (RECORDS + "/{record}/files/scan:begin_upload", {"size_bytes": 1, "sha256": "0" * 64}),
    ],
    "records.upload_pending_file": [("/v1/pending_uploads/x", b"x")],
    "records.finish_upload": [
        (RECORDS + "/{record}/files/scan:finish_upload", {"id": "upl_" + "0" * 26}),
    ],
    "records.create_record": [(RECORDS, {"text": "hidden" + "record"}), (RECORDS, {"x": 1})],
    "records.update_record": [(RECORDS + "/{record}", {}), (RECORDS + "/{record}", {"text": 1})],
    "records.replace_record": [(RECORDS + "/{record}", {"text": "mine"})],
    "records.upsert_record": [
        (RECORDS + ":upsert?by=text", {"text": "hidden" + "record"}),
        (RECORDS + ":upsert?by=text", {"text": "other", "amount": 1}),
    ],
    "records.delete_records": [
        (RECORDS + ":delete", {"filter": "text.startsWith('hidden')", "dry_run": True}),
        (RECORDS + ":delete", {"filter": "text.startsWith('hidden')", "limit_max": 1}),
    ],
    "records.update_records": [
        (RECORDS + ":update", {"filter": "text.startsWith('hidden')", "set": {"amount": 1}}),
    ],
    "records.export_records": [
        (RECORDS + ":export", None),
        (RECORDS + ":export?format=csv&filter=text.startsWith('hidden')", None),
    ],
    "records.import_records": [(RECORDS + ":import?format=ndjson&by=text", b'{"text": "other"}')],
    "records.get_run": [("/v1/record_runs/run_x", None)],
    "records.list_runs": [("/v1/record_runs", None), ("/v1/record_runs?state=done", None)],
    "records.get_run_report": [("/v1/record_runs/run_x/errors", None)],
    "records.cancel_run": [("/v1/record_runs/run_x:cancel", None)],
    "records.batch_records": [
        (RECORDS + ":batch", {"items": [{"action": "update", "id": "{record}", "data": {}}]}),
    ],
    "records.batch_steps": [
        (
            "/v1/records:batch",
            {
                "steps": [
                    {
                        "collection": "vault",
                        "action": "update",
                        "id": "{record}",
                        "data": {"amount": 1},
                    },
                ]
            },
        ),
        (
            "/v1/records:batch",
            {
                "steps": [
                    {
                        "collection": "vault",
                        "action": "upsert",
                        "by": "text",
                        "data": {"text": "other"},
                    },
                ]
            },
        ),
    ],
    "records.upload_file": [(RECORDS + "/{record}/files/scan", b"other")],
    "records.list_collections": [("/v1/collections", None)],
    "records.get_collection": [("/v1/collections/vault", None)],
    "records.create_collection": [("/v1/collections", {"name": "vault", "fields": []})],
    "records.update_collection": [("/v1/collections/vault", {})],
    "users.list_users": [("/v1/users", None), ("/v1/users?email={email}", None)],
    "users.get_user": [("/v1/users/{user}", None)],
    "users.get_me": [("/v1/users/me", None)],
    "users.create_user": [("/v1/users", {"email": "{email}", "password": "long enough, yes"})],
    "users.update_user": [("/v1/users/{user}", {}), ("/v1/users/{user}", {"email": "x"})],
    "users.update_me": [("/v1/users/me", {})],
    "users.change_email": [("/v1/users/me:change_email", {"email": "{email}", "password": "x"})],
    "users.send_verification": [("/v1/users/me:send_verification", None)],
    "users.verify_email": [("/v1/users:verify_email", {"token": "x"})],
    "users.change_password": [
        ("/v1/users/me:change_password", {"password": "x", "new_password": "long enough, yes"})
    ],
    "users.request_password_reset": [("/v1/users:request_password_reset", {"email": "{email}"})],
    "users.reset_password": [("/v1/users:reset_password", {"token": "x", "password": "long, yes"})],
    "users.create_session": [("/v1/sessions", {"email": "{email}", "password": "wrong, is it"})],
    "users.refresh_session": [("/v1/sessions/refresh", {"refresh_token": "x"})],
    "users.step_up_session": [("/v1/sessions/{session}:step_up", {"password": "wrong, is it"})],
    "users.complete_session": [("/v1/sessions:complete", {"challenge": "x", "code": "123456"})],
    "users.undo_email_change": [
        ("/v1/users:undo_email_change", {"token": "x", "password": "correct horse battery"})
    ],
    "users.magic_session": [("/v1/sessions/magic", {"email": "nobody@example.com"})],
    "users.redeem_log_in": [("/v1/sessions/magic:redeem", {"token": "x"})],
    "users.create_login": [
        ("/v1/logins", {"provider": "x", "redirect_uri": "x", "code_challenge": "x" * 43})
    ],
    "users.create_link": [
        ("/v1/users/me/logins", {"provider": "x", "redirect_uri": "x", "code_challenge": "x" * 43})
    ],
    "users.get_callback": [("/v1/logins/x/callback?state=x&code=x", None)],
    "users.create_callback": [("/v1/logins/x/callback?state=x&code=x", None)],
    "users.complete_login": [("/v1/logins:complete", {"code": "x", "code_verifier": "x" * 43})],
    "users.create_identity": [
        ("/v1/users/me/identities", {"code": "x", "code_verifier": "x" * 43})
    ],
    "users.list_identities": [("/v1/users/me/identities", None)],
    "users.delete_identity": [("/v1/users/me/identities/{key}", None)],
    "users.get_factors": [("/v1/users/me/factors", None)],
    "users.create_totp": [("/v1/users/me/totp", None)],
    "users.confirm_totp": [("/v1/users/me/totp:confirm", {"code": "123456"})],
    "users.disable_totp": [("/v1/users/me/totp:disable", {"code": "123456"})],
    "users.create_recovery_codes": [("/v1/users/me/recovery_codes", {"code": "123456"})],
    "users.begin_passkey": [("/v1/users/me/passkeys:begin", None)],
    "users.create_passkey": [("/v1/users/me/passkeys", {"credential": {}})],
    "users.list_passkeys": [("/v1/users/me/passkeys", None)],
    "users.update_passkey": [("/v1/users/me/passkeys/{key}", {"name": "x"})],
    "users.delete_passkey": [("/v1/users/me/passkeys/{key}", None)],
    "users.reset_passkeys": [("/v1/users/{user}/passkeys:reset", None)],
    "users.begin_passkey_login": [("/v1/passkeys:begin", {})],
    "users.create_passkey_session": [("/v1/sessions/passkey", {"credential": {}})],
    "users.create_organization": [("/v1/organizations", {"name": "mine"})],
    "users.list_organizations": [("/v1/organizations", None), ("/v1/organizations?all=true", None)],
    "users.get_organization": [("/v1/organizations/{team}", None)],
    "users.update_organization": [("/v1/organizations/{team}", {"name": "mine"})],
    "users.transfer_organization": [("/v1/organizations/{team}:transfer", {"user_id": "{user}"})],
    "users.list_members": [("/v1/organizations/{team}/members", None)],
    "users.update_member": [("/v1/organizations/{team}/members/{user}", {"role": "admin"})],
    "users.delete_member": [("/v1/organizations/{team}/members/{user}", None)],
    "users.create_invitation": [("/v1/organizations/{team}/invitations", {"email": "x@x.example"})],
    "users.list_invitations": [("/v1/organizations/{team}/invitations", None)],
    "users.resend_invitation": [("/v1/organizations/{team}/invitations/{invitation}:resend", None)],
    "users.delete_invitation": [("/v1/organizations/{team}/invitations/{invitation}", None)],
    "users.list_own_invitations": [("/v1/users/me/invitations", None)],
    "users.accept_invitation": [("/v1/invitations:accept", {"id": "{invitation}"})],
    "users.decline_invitation": [("/v1/invitations:decline", {"id": "{invitation}"})],
    "users.delete_organization": [("/v1/organizations/{team}", None)],
    "users.create_oauth_client": [("/v1/oauth_clients", {"name": "mine"})],
    "users.list_oauth_clients": [("/v1/oauth_clients", None)],
    "users.get_oauth_client": [("/v1/oauth_clients/{client}", None)],
    "users.update_oauth_client": [("/v1/oauth_clients/{client}", {})],
    "users.rotate_secret": [("/v1/oauth_clients/{client}:rotate_secret", None)],
    "users.delete_oauth_client": [("/v1/oauth_clients/{key}", None)],
    "users.list_authorizations": [("/v1/users/me/authorizations", None)],
    "users.delete_authorization": [("/v1/users/me/authorizations/{key}", None)],
    "users.create_user_authorization": [
        ("/v1/users/me/authorizations", {"request": "x", "decision": "deny"})
    ],
    "users.get_authorization": [("/oauth/authorize?client_id=x", None)],
    "users.create_authorization": [("/oauth/authorize", None)],
    "users.login_user": [("/oauth/login", None)],
    "users.consent_client": [("/oauth/consent", None)],
    "users.get_logout": [("/oauth/logout", None)],
    "users.logout_user": [("/oauth/logout", None)],
    "users.token_client": [("/oauth/token", None)],
    "users.introspect_token": [("/oauth/introspect", None)],
    "users.revoke_token": [("/oauth/revoke", None)],
    "users.get_userinfo": [("/oauth/userinfo", None)],
    "users.create_userinfo": [("/oauth/userinfo", None)],
    "users.get_openid_configuration": [("/.well-known/openid-configuration", None)],
    "users.get_authorization_server": [("/.well-known/oauth-authorization-server", None)],
    "users.get_signing_keys": [("/oauth/jwks", None)],
    "users.get_key_lineage": [("/v1/api_keys/{key}/lineage", None)],
    "users.import_users": [("/v1/users:import", {"users": [{"email": "{email}"}]})],
    "users.impersonate_user": [("/v1/users/{user}:impersonate", {"reason": "x"})],
    "users.list_impersonations": [
        ("/v1/impersonations", None),
        ("/v1/impersonations?user_id={user}", None),
    ],
    "users.stop_impersonation": [("/v1/impersonations/{session}:stop", None)],
    "users.disable_user": [("/v1/users/{user}:disable", {"reason": "x"})],
    "users.enable_user": [("/v1/users/{user}:enable", None)],
    "users.reset_totp": [("/v1/users/{user}:reset_totp", None)],
    "users.list_sessions": [("/v1/sessions", None)],
    "users.create_stream_token": [("/v1/stream_tokens", None)],
    "users.delete_session": [("/v1/sessions/{session}", None)],
    "users.get_jwks": [("/.well-known/jwks.json", None)],
    "users.create_api_key": [("/v1/api_keys", {"name": "n", "scopes": ["users:read"]})],
    "users.list_api_keys": [("/v1/api_keys", None)],
    "users.get_api_key": [("/v1/api_keys/{key}", None)],
    "users.recover_api_key": [
        ("/v1/api_keys:recover", {"prefix": "msk_00000000", "key_hash": "0" * 64})
    ],
    "users.list_roles": [("/v1/roles", None)],
    "users.get_role": [("/v1/roles/hiddenrole", None)],
    "users.create_role": [("/v1/roles", {"name": "hidden" + "role", "scopes": []})],
    "users.update_role": [("/v1/roles/hiddenrole", {"scopes": ["users:own"]})],
    "jobs.create_job": [("/v1/jobs", {"name": "chores.sweep", "args": {"what": 1}})],
    "jobs.list_jobs": [("/v1/jobs", None), ("/v1/jobs?state=dead", None)],
    "jobs.get_job": [("/v1/jobs/{job}", None)],
    "jobs.retry_job": [("/v1/jobs/{job}:retry", None)],
    "jobs.cancel_job": [("/v1/jobs/{job}:cancel", None)],
    "jobs.list_queues": [("/v1/queues", None)],
    "jobs.get_queue": [("/v1/queues/bulk", None)],
    "jobs.pause_queue": [("/v1/queues/bulk:pause", None)],
    "jobs.resume_queue": [("/v1/queues/bulk:resume", None)],
    "jobs.list_dead_letters": [("/v1/queues/bulk/dead", None)],
    "jobs.redrive_dead_letters": [("/v1/queues/bulk/dead:redrive", {})],
    "jobs.list_schedules": [("/v1/schedules", None)],
    "webhooks.create_webhook": [("/v1/webhooks", {"url": "https://a.example/", "types": ["*"]})],
    "webhooks.list_webhooks": [("/v1/webhooks", None)],
    "webhooks.get_webhook": [("/v1/webhooks/{hook}", None)],
    "webhooks.update_webhook": [
        ("/v1/webhooks/{hook}", {}),
        ("/v1/webhooks/{hook}", {"filter": "x("}),
    ],
    "webhooks.rotate_secret": [("/v1/webhooks/{hook}:rotate_secret", None)],
    "webhooks.test_webhook": [("/v1/webhooks/{hook}:test", None)],
    "webhooks.replay_events": [("/v1/webhooks/{hook}:replay", {"after": 0})],
    "webhooks.list_deliveries": [("/v1/webhooks/{hook}/deliveries", None)],
    "webhooks.get_delivery": [("/v1/webhooks/{hook}/deliveries/{event}", None)],
    "webhooks.retry_delivery": [("/v1/webhooks/{hook}/deliveries/{event}:retry", None)],
    "events.list_events": [("/v1/events?limit=500", None), ("/v1/events?type=records.*", None)],
    "events.stream_events": [("/v1/events/stream", None)],
    "events.get_event_schema": [("/v1/events/schemas/users.user.created", None)],
    "audit.list_entries": [("/v1/audit/entries?limit=500", None)],
    "audit.get_checkpoint": [("/v1/audit/checkpoint", None)],
    "audit.get_inclusion_proof": [("/v1/audit/proofs/{event}", None)],
    "audit.get_consistency_proof": [("/v1/audit/consistency?first=1&second=3", None)],
    "audit.export_log": [("/v1/audit/export", None)],
    # Last, since these end things.
    "webhooks.delete_webhook": [("/v1/webhooks/{hook}", None)],
    "records.delete_record": [(RECORDS + "/{record}", None)],
    "records.delete_collection": [("/v1/collections/vault", None)],
    "users.delete_api_key": [("/v1/api_keys/{key}", None)],
    "users.delete_role": [("/v1/roles/hiddenrole", None)],
    "users.delete_user": [("/v1/users/{user}", None), ("/v1/users/{user}?erase=true", None)],
    "users.delete_sessions": [("/v1/sessions", None)],
    "users.delete_me": [("/v1/users/me", None)],
}
PAGES = ["/openapi.json", "/v1/status", "/healthz", "/readyz", "/metrics", "/", "/docs"]
app = App("chores", services=[chores])


@pytest.fixture
async def platform(platform_server: str | None) -> AsyncIterator[Platform]:
    async with Platform(app, database=platform_server) as platform:
        yield platform


async def seed(platform: Platform) -> dict[str, str]:
    """Make one of everything, each with its word; return the ids."""
    root = platform.admin
    (await root.post("/v1/collections", VAULT)).expect(201)
    (await root.post("/v1/roles", {"name": "hiddenrole", "scopes": ["users:own"]})).expect(201)
    hook = {"url": "https://hook.example/hiddenhook", "types": ["records.*", "users.*"]}
    made = {"hook": (await root.post("/v1/webhooks", hook)).expect(201)["id"]}
    made["email"] = "hiddenperson@example.com"
    person = await platform.as_user(made["email"], roles=["user", "hiddenrole"])
    made["user"] = str(person.id)
    (await person.patch("/v1/users/me", {"display_name": "hiddenperson"})).expect(200)
    (session,) = (await person.get("/v1/sessions")).expect(200)["items"]
    made["session"] = session["id"]
    team = (await person.post("/v1/organizations", {"name": "hiddenteam"})).expect(201)
    made["team"] = team["id"]
    path = f"/v1/organizations/{team['id']}/invitations"
    invited = {"email": "hiddenperson2@example.com"}
    made["invitation"] = (await person.post(path, invited)).expect(201)["id"]
    client = {"name": "hiddenclient", "redirect_uris": ["https://hiddenclient.example/back"]}
    made["client"] = (await root.post("/v1/oauth_clients", client)).expect(201)["id"]
    key = {"name": "hiddenkey", "scopes": ["users:own"]}
    made["key"] = (await root.post("/v1/api_keys", key)).expect(201)["id"]
    record = {"owner": person.id, "text": "hiddenrecord", "amount": 4_242}
    made["record"] = (await root.post(RECORDS, record)).expect(201)["id"]
    scan = {"content": b"hiddenfile", "content_type": "text/plain"}
    named = {"content-disposition": 'attachment; filename="hiddenfile.txt"'}
    path = f"{RECORDS}/{made['record']}/files/scan"
    (await root.post(path, headers=named, **scan)).expect(201)
    job = {"name": "chores.spill", "args": {"what": "hiddenjob"}}
    made["job"] = (await root.post("/v1/jobs", job)).expect(201)["id"]
    await platform.drain(failing=["chores.spill"])
    (event,) = await platform.events("records.record.created")
    return {**made, "event": event.id}


async def caller_of(platform: Platform, name: str) -> Client:
    if name == "nobody":
        return platform.anonymous
    if name == "user":
        return await platform.as_user("other@example.com", roles=[])
    if name == "revoked":
        key = await platform.as_key("*")
        assert (await key.get("/v1/users")).status == 200  # so it is remembered
        (await platform.admin.delete(f"/v1/api_keys/{key.id}")).expect(204)
        return key
    if name == "maker lost it":
        role = {"name": "chief", "scopes": ["*"]}
        (await platform.admin.post("/v1/roles", role)).expect(201)
        chief = await platform.as_user("chief@example.com", roles=["chief"])
        made = (await chief.post("/v1/api_keys", {"name": "k", "scopes": ["*"]})).expect(201)
        key = platform.as_bearer(made["key"])
        assert (await key.get("/v1/users")).status == 200
        (await platform.admin.patch("/v1/roles/chief", {"scopes": []})).expect(200)
        return key
    return await platform.as_key(name)


def filled(value: Any, made: dict[str, str]) -> Any:
    if isinstance(value, bytes) or value is None:
        return value
    text = msgspec.json.encode(value).decode()
    for name, id in made.items():
        text = text.replace("{" + name + "}", id)
    return msgspec.json.decode(text)


async def ask(who: Client, method: str, path: str, body: Any, key: str | None) -> HttpAnswer:
    if isinstance(body, bytes):
        named = {"content-disposition": 'attachment; filename="other.txt"'}
        return await who.request(method, path, content=body, headers=named)
    sent = {} if body is None else {"body": body}
    return await who.request(method, path, **sent, idempotency_key=key)


@pytest.mark.parametrize("name", CALLERS)
async def test_nothing_private_is_shown(platform: Platform, name: str) -> None:
    made = await seed(platform)
    who = await caller_of(platform, name)
    operations = platform.app.runtime.registry.operations
    assert set(ASKED) == {o for o in operations if not o.startswith("chores.")}
    faults = []
    for asked, ways in ASKED.items():
        operation = operations[asked]
        allowed = operation.scope is None or operation.scope == name
        if operation.kind is Kind.STREAM and allowed:
            continue  # it has no end; it asks the feed's own judgement
        for at, (path, body) in enumerate(ways):
            key = f"{asked} {at}" if operation.method in ("POST", "PATCH") else None
            path, body = filled(path, made), filled(body, made)
            answer = await ask(who, operation.method, path, body, key)
            where = f"{name}: {operation.method} {path}: {answer.status}"
            if answer.status >= 500 or (not allowed and answer.status not in (401, 403)):
                faults.append(where)
            faults += [f"{where} shows {word}" for word in shown(answer, name, path, body)]
    for path in PAGES:
        answer = await who.get(path)
        faults += [f"{name}: {path} shows {word}" for word in shown(answer, name, path, None)]
    assert faults == []


def shown(answer: HttpAnswer, name: str, path: str, body: Any) -> list[str]:
    """The words in an answer that this caller neither may read nor has sent."""
    told = repr(sorted(answer.headers.items())).encode() + answer.body
    sent = f"{path} {body}"
    return [
        word
        for word, scopes in WORDS.items()
        if word.encode() in told and name not in scopes and word not in sent
    ]


async def test_stored_answers_end_with_the_right_to_them(platform: Platform) -> None:
    made = await seed(platform)
    role = {"name": "chief", "scopes": ["users:*", "records:*", "jobs:*", "roles:read"]}
    (await platform.admin.post("/v1/roles", role)).expect(201)
    chief = await platform.as_user("chief@example.com", roles=["chief"])
    calls = [
        ("PATCH", f"{RECORDS}/{made['record']}", {"amount": 5}, "hiddenrecord"),
        ("PATCH", f"/v1/users/{made['user']}", {"display_name": "a"}, "hiddenperson"),
        ("POST", f"/v1/jobs/{made['job']}:retry", None, "hiddenjob"),
    ]
    for method, path, body, word in calls:
        assert word in (await ask(chief, method, path, body, "key " + path)).expect(200).__repr__()
        assert word in (await ask(chief, method, path, body, "key " + path)).text
    (await platform.admin.patch("/v1/roles/chief", {"scopes": []})).expect(200)
    for method, path, body, word in calls:
        answer = await ask(chief, method, path, body, "key " + path)
        assert answer.status in (403, 404)
        assert word not in answer.text
