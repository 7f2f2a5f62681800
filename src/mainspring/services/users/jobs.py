"""Jobs: the mails that carry tokens, and what an erasure leaves to do."""

from mainspring import Call, JobFailed, handles
from mainspring.ports.database import Database
from mainspring.ports.mail import Mail, MailMessage, MailRefused
from mainspring.services.users import api, impersonation, mailing, password_check, store
from mainspring.services.users.mail_templates import MailTemplates
from mainspring.services.users.mail_texts import MailMatter
from mainspring.services.users.mailing import Purpose

api.service.keeps(*store.SWEEPS, *store.OAUTH_SWEEPS)
api.service.seals(store.TOTP_SECRET, store.SIGNING_KEY)


@handles(api.send_token)
async def send_token(call: Call, token_id: str) -> None:
    row = await call.find(store.MAIL_TOKEN, id=token_id, tenant=call.tenant)
    if row is None or row.expires_ms <= call.now_ms:
        return  # used, replaced or too late
    user = await call.find(store.USER, id=row.user_id, tenant=call.tenant)
    matter = MailMatter(
        Purpose(row.purpose),
        row.email,
        "" if user is None else user.locale,
        mailing.token_text(call, token_id),
        mailing.code_text(call, token_id),
        row.about,
    )
    mail = call.use(MailTemplates).fill(matter)
    message = MailMessage(
        token_id, row.email, mail.subject, mail.text, person=row.user_id, html=mail.html
    )
    try:
        await call.use(Mail).send(message)
    except MailRefused as refusal:
        call.emit(api.MailBounced(row.user_id, row.purpose, str(refusal)))
        raise JobFailed(f"the mail was refused for good: {refusal}") from None


@handles(api.start_reset)
async def start_reset(call: Call, user_id: str | None) -> None:
    if user_id is None:
        return
    user = await call.find(store.USER, id=user_id, tenant=call.tenant)
    if user is not None:
        await mailing.mail(call, user, Purpose.RESET_PASSWORD)


@handles(api.start_log_in)
async def start_log_in(call: Call, user_id: str | None, token_id: str) -> None:
    user = await call.find(store.USER, id=user_id or "", tenant=call.tenant)
    if user is not None:
        await mailing.mail(call, user, Purpose.LOG_IN, token_id=token_id)


@handles(api.send_invitation)
async def send_invitation(call: Call, invitation_id: str, mail_id: str) -> None:
    row = await call.find(store.INVITATION, id=invitation_id, tenant=call.tenant)
    if row is None or row.expires_ms <= call.now_ms:
        return  # accepted, declined, taken back or too late
    of_organization = {"id": row.organization_id, "tenant": call.tenant}
    organization = await call.find(store.ORGANIZATION, **of_organization)
    if organization is None:
        return
    holder = await password_check.find_user(call, row.email)
    person, locale = ("", "") if holder is None else (holder.id, holder.locale)
    token = mailing.token_text(call, row.id)
    matter = MailMatter(Purpose.INVITATION, row.email, locale, token, about=organization.name)
    mail = call.use(MailTemplates).fill(matter)
    try:
        message = MailMessage(
            mail_id, row.email, mail.subject, mail.text, person=person, html=mail.html
        )
        await call.use(Mail).send(message)
    except MailRefused as refusal:
        raise JobFailed(f"the invitation was refused for good: {refusal}") from None


@handles(api.forget_mail)
async def forget_mail(call: Call, person: str, again: bool = True) -> None:
    await call.use(Mail).forget(person)
    if again:
        after_ms = call.now_ms + int(api.send_token.timeout_s * 1000)
        call.enqueue(api.forget_mail.configure(run_at_ms=after_ms), person=person, again=False)


@handles(api.end_impersonation)
async def end_impersonation(call: Call, impersonation_id: str) -> None:
    row = await call.find(store.IMPERSONATION, id=impersonation_id, tenant=call.tenant)
    if row is not None and row.ended_ms is None:
        await impersonation.end(call, row, "expired")


@handles(api.scrub)
async def scrub(call: Call) -> None:
    await call.use(Database).scrub()
