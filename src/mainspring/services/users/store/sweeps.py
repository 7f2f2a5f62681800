"""What is kept for a time."""

from mainspring import Query, Statement
from mainspring.kernel.sweep import HowMany, Sweep, sweep_of
from mainspring.services.users import model

_ORPHANS = (
    "users_api_keys k WHERE k.maker_id IS NOT NULL "
    "AND NOT EXISTS (SELECT 1 FROM users_api_keys m WHERE m.id = k.maker_id) "
    "AND NOT EXISTS (SELECT 1 FROM users_users u WHERE u.id = k.maker_id)"
)
_FIRST_ORPHANS = f"SELECT id FROM {_ORPHANS} AND k.created_ms <= :before_ms LIMIT :limit"
_HOUR_MS = 3600 * 1000
_DAY_MS = 24 * _HOUR_MS
DEVICES_KEPT_MS = 400 * _DAY_MS  # longer than a session may last
KEYS_KEPT_MS = 30 * _DAY_MS  # after they expired: a list shows what has
GONE_KEPT_MS = 400 * _DAY_MS  # then only who may do everything erases them
IMPERSONATIONS_KEPT_MS = 400 * _DAY_MS
SWEEPS = (
    sweep_of(
        "who acted as whom", "users_impersonations", "id", "started_ms",
        kept_ms=IMPERSONATIONS_KEPT_MS,
    ),
    sweep_of("sessions", "users_sessions", "id", "expires_ms"),
    sweep_of("tickets", "users_tickets", "id", "expires_ms"),
    sweep_of("invitations", "users_invitations", "id", "expires_ms"),
    sweep_of("mailed tokens", "users_mail_tokens", "id", "expires_ms"),
    sweep_of(
        "counts of failed log-ins", "users_failures", "tenant, account", "failed_ms",
        kept_ms=model.FAILURES_FORGOTTEN_MS,
    ),
    sweep_of(
        "counts of mails", "users_mails", "tenant, account", "mailed_ms",
        kept_ms=model.MAILS_FORGOTTEN_MS,
    ),
    sweep_of(
        "notes of who was read", "users_reads", "tenant, reader, person", "read_ms",
        kept_ms=model.READ_TOLD_MS,
    ),
    sweep_of(
        "devices that users logged in from", "users_devices", "tenant, user_id, hash", "seen_ms",
        kept_ms=DEVICES_KEPT_MS,
    ),
    sweep_of(
        "API keys that expire", "users_api_keys", "id", "expires_ms", kept_ms=KEYS_KEPT_MS,
        where="expires_ms IS NOT NULL",
    ),
    sweep_of(
        "users deleted and not erased", "users_gone", "tenant, id", "gone_ms",
        kept_ms=GONE_KEPT_MS,
    ),
    # Keys made by one that ended at that very moment: nobody can use them.
    Sweep(
        "API keys whose maker is gone",
        Statement(
            "users.sweep_orphans",
            f"DELETE FROM users_api_keys WHERE id IN ({_FIRST_ORPHANS}) RETURNING 1",
            postgres="DELETE FROM users_api_keys "
            f"WHERE id = ANY (ARRAY({_FIRST_ORPHANS})) RETURNING 1",
        ),
        Query(
            "users.count_orphans",
            f"SELECT COUNT(*) AS rows, MIN(created_ms) AS oldest_ms "
            f"FROM (SELECT k.created_ms FROM {_ORPHANS} LIMIT :most) AS found",
            HowMany,
            scans=True,
        ),
    ),
)  # fmt: skip
