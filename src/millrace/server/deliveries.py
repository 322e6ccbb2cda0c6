"""One webhook or e-mail: filled in from the store, then sent. Redirects, which name other hosts, are not followed."""

from __future__ import annotations

import json
import re
import smtplib
import ssl
from dataclasses import dataclass
from email.errors import HeaderDefect, HeaderParseError
from email.message import EmailMessage
from email.utils import formatdate
from typing import Any
from urllib.parse import unquote, urlsplit
from uuid import UUID

import httpx

from millrace.errors import InvalidInput
from millrace.schema import templates
from millrace.schema.actions import CallWebhook, Email, SendNotification
from millrace.schema.automations import Invocation
from millrace.schema.fields import JsonObject
from millrace.schema.pages import LARGEST_PAGE, RunPage
from millrace.schema.templates import Lookup
from millrace.settings import Settings
from millrace.store import block_documents, happenings, pages
from millrace.store.database import Transaction
from millrace.store.vault import Vault

TIMEOUT_SECONDS = 15.0

_PORTS = {"smtp": 25, "smtp+starttls": 587, "smtps": 465}
_AGAIN = frozenset({408, 425, 429})
_SLACK, _WEBHOOK = "slack-webhook", "webhook"


class Undeliverable(Exception):
    """It was not delivered.

    Args:
        reason: for people, without secrets.
        again: whether trying again may help.
    """

    def __init__(self, reason: str, *, again: bool) -> None:
        super().__init__(reason)
        self.again = again


@dataclass(frozen=True)
class Webhook:
    """A request, filled in."""

    method: str
    url: str
    headers: dict[str, str]
    content: bytes


@dataclass(frozen=True)
class Letter:
    """An e-mail, filled in."""

    server: str
    sender: str | None
    to: list[str]
    subject: str
    body: str
    page: RunPage | None = None


def pack(tx: Transaction, invocation: Invocation, settings: Settings, vault: Vault) -> Webhook | Letter:
    """An action with its templates filled in.

    Args:
        tx: a reading transaction.
        invocation: the action.
        settings: of the server.
        vault: opens secrets.

    Raises:
        InvalidInput: a value cannot be used.
        NotFound: a block or secret does not exist.
    """
    action = invocation.action
    open_lookup = happenings.lookup(tx, invocation, vault)
    lookup = happenings.lookup(tx, invocation)
    if isinstance(action, CallWebhook):
        return _webhook(tx, action, lookup, open_lookup, vault)
    if not isinstance(action, SendNotification):
        raise InvalidInput(f"{action.type} is nothing to send.")
    subject, body = templates.fill_text(action.subject, lookup), templates.fill_text(action.body, lookup)
    if action.email is None:
        return _block_notice(tx, vault, action, subject, body)
    page = _page(tx, settings, invocation) if action.email.attach_html else None
    return _letter(action.email, subject, body, lookup, open_lookup, settings, page)


def _webhook(tx: Transaction, action: CallWebhook, lookup: Lookup, secrets: Lookup, vault: Vault) -> Webhook:
    payload: Any = action.payload
    filled = templates.fill_all(payload, lookup) if isinstance(payload, dict) else templates.fill_text(payload, lookup)
    if action.block_document_id is not None:
        return _block_webhook(tx, vault, action.block_document_id, filled)
    headers = {name: templates.fill_text(text, secrets, secrets=True) for name, text in action.headers.items()}
    return _request(action.method, templates.fill_text(action.url or "", secrets, secrets=True), headers, filled)


def _request(method: str, url: str, headers: dict[str, str], payload: Any) -> Webhook:
    if not url.startswith(("http://", "https://")):
        raise InvalidInput("The URL of a webhook must begin with http:// or https://.")
    text = payload if isinstance(payload, str) else json.dumps(payload, default=str)
    if text and "content-type" not in {name.lower() for name in headers}:
        headers = {**headers, "Content-Type": _media_type(text)}
    return Webhook(method, url, headers, text.encode())


def _media_type(text: str) -> str:
    try:
        json.loads(text)
    except ValueError:
        return "text/plain; charset=utf-8"
    return "application/json"


def _block(tx: Transaction, vault: Vault, id: UUID) -> tuple[str, JsonObject]:
    document = block_documents.read(tx, vault, id, include_secrets=True)
    return (document.block_type.slug if document.block_type else ""), document.data


def _block_webhook(tx: Transaction, vault: Vault, id: UUID, payload: Any) -> Webhook:
    slug, data = _block(tx, vault, id)
    if slug != _WEBHOOK:
        raise InvalidInput(f"The block {id} is of the type {slug!r}, not {_WEBHOOK!r}.")
    headers = {str(name): str(value) for name, value in (data.get("headers") or {}).items()}
    return _request(str(data.get("method") or "POST"), str(data.get("url") or ""), headers, payload)


def _block_notice(tx: Transaction, vault: Vault, action: SendNotification, subject: str, body: str) -> Webhook:
    assert action.block_document_id is not None
    slug, data = _block(tx, vault, action.block_document_id)
    if slug == _WEBHOOK:
        return _block_webhook(tx, vault, action.block_document_id, {"subject": subject, "body": body})
    if slug != _SLACK:
        raise InvalidInput(
            f"Notifications cannot be sent by a block of the type {slug!r}. Use one of {_SLACK} or {_WEBHOOK}, or "
            "give the action an email."
        )
    return _request("POST", str(data.get("url") or ""), {}, {"text": f"*{subject}*\n{body}"})


def _letter(
    email: Email,
    subject: str,
    body: str,
    lookup: Lookup,
    secrets: Lookup,
    settings: Settings,
    page: RunPage | None,
) -> Letter:
    server = templates.fill_text(email.server, secrets, secrets=True) if email.server else ""
    if not server and settings.smtp_url is not None:
        server = settings.smtp_url.get_secret_value()
    if not server:
        raise InvalidInput("No mail server is known. Give the e-mail a server, or set MILLRACE_SMTP_URL.")
    to = [templates.fill_text(one, lookup) for one in email.to]
    sender = templates.fill_text(email.sender, lookup) if email.sender else None
    return Letter(server, sender, to, subject, body, page)


def _page(tx: Transaction, settings: Settings, invocation: Invocation) -> RunPage | None:
    """The page of the executed notebook of the run: its file where this machine ran it, else what was sent of it."""
    event = invocation.firing.event
    run = None if event is None else happenings.thing(event, "prefect.flow-run")
    if run is None:
        return None
    files = sorted(settings.run_directory(run).glob("*.html"))
    if not files:
        return pages.find(tx, run)
    size = files[0].stat().st_size
    text = files[0].read_text(encoding="utf-8", errors="replace") if size <= LARGEST_PAGE else None
    return RunPage(place=str(files[0]), size=size, text=text)


def send(parcel: Webhook | Letter, id: UUID) -> JsonObject:
    """Sends it, once.

    Args:
        parcel: what to send.
        id: tells this errand from all others.

    Returns:
        What is to be told of it.

    Raises:
        Undeliverable: it was not taken.
    """
    return _post(parcel, id) if isinstance(parcel, Webhook) else _mail(parcel, id)


def _post(webhook: Webhook, id: UUID) -> JsonObject:
    headers = {"User-Agent": "millrace", "Idempotency-Key": str(id), **webhook.headers}
    host = urlsplit(webhook.url).hostname
    try:
        with (
            httpx.Client(timeout=TIMEOUT_SECONDS, follow_redirects=False) as client,
            client.stream(webhook.method, webhook.url, headers=headers, content=webhook.content) as answer,
        ):
            status = answer.status_code
    except httpx.TransportError as error:
        raise Undeliverable(f"{host} could not be reached: {type(error).__name__}: {error}", again=True) from None
    except (httpx.InvalidURL, httpx.HTTPError, UnicodeError, ValueError) as error:
        raise Undeliverable(f"The request could not be made: {type(error).__name__}", again=False) from None
    if 300 <= status < 400:
        raise Undeliverable(f"{host} answered {status}: redirects are not followed. Name the final URL.", again=False)
    if status >= 400:
        raise Undeliverable(f"{host} answered {status}.", again=status >= 500 or status in _AGAIN)
    return {"status_code": status}


def _mail(letter: Letter, id: UUID) -> JsonObject:
    target = urlsplit(letter.server)
    if target.scheme not in _PORTS or not target.hostname:
        raise Undeliverable("A mail server is written smtp://, smtps:// or smtp+starttls://host[:port].", again=False)
    try:
        message = _message(letter, id, target.username)
        port = target.port or _PORTS[target.scheme]
    except (ValueError, HeaderDefect, HeaderParseError, AttributeError, IndexError) as error:
        raise Undeliverable(f"The e-mail could not be written: {error}", again=False) from None
    try:
        with _connection(target.scheme, target.hostname, port) as server:
            if target.username:
                server.login(unquote(target.username), unquote(target.password or ""))
            refused = server.send_message(message)
    except smtplib.SMTPResponseException as error:
        said = error.smtp_error.decode(errors="replace") if isinstance(error.smtp_error, bytes) else error.smtp_error
        again = 400 <= error.smtp_code < 500
        raise Undeliverable(f"{target.hostname} refused: {error.smtp_code} {said[:500]}", again=again) from None
    except smtplib.SMTPRecipientsRefused as error:
        codes = [code for code, _ in error.recipients.values()]
        again = all(400 <= code < 500 for code in codes)
        raise Undeliverable(f"{target.hostname} refused {', '.join(error.recipients)}", again=again) from None
    except (OSError, smtplib.SMTPException) as error:
        again = not isinstance(error, smtplib.SMTPNotSupportedError)
        text = f"{target.hostname} could not be reached: {type(error).__name__}: {error}"
        raise Undeliverable(text, again=again) from None
    attached = letter.page is not None and letter.page.text is not None
    told: JsonObject = {"recipients": len(letter.to) - len(refused), "attached": attached}
    return {**told, "refused": sorted(refused)} if refused else told


def _connection(scheme: str, host: str, port: int) -> smtplib.SMTP:
    if scheme == "smtps":
        return smtplib.SMTP_SSL(host, port, timeout=TIMEOUT_SECONDS, context=ssl.create_default_context())
    server = smtplib.SMTP(host, port, timeout=TIMEOUT_SECONDS)
    if scheme == "smtp+starttls":
        try:
            server.starttls(context=ssl.create_default_context())
        except BaseException:
            server.close()
            raise
    return server


def _message(letter: Letter, id: UUID, user: str | None) -> EmailMessage:
    message = EmailMessage()
    user = unquote(user or "")
    message["From"] = letter.sender or (user if "@" in user else "millrace@localhost")
    message["To"] = ", ".join(letter.to)
    message["Subject"] = " ".join(letter.subject.split())
    message["Date"] = formatdate(localtime=False)
    message["Message-ID"] = f"<{id}@millrace>"
    message.set_content(letter.body + _note(letter.page))
    if letter.page is not None and letter.page.text is not None:
        name = re.split(r"[/\\]", letter.page.place)[-1]
        message.add_attachment(letter.page.text.encode(), maintype="text", subtype="html", filename=name)
    return message


def _note(page: RunPage | None) -> str:
    if page is None or page.text is not None:
        return ""
    return f"\n\nThe page of the run is too large to be attached ({page.size / 1024 / 1024:.1f} MB). It is {page.place}"
