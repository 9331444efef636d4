"""*Dead letters*: messages that no worker could process. Look at them, send them again, drop them.

A form leads to a page that says what would be done, for each dead letter, and does nothing; the
form there does it. Texts are shown to admins only, and only if a setting allows it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Final

from fastapi import APIRouter, Path
from starlette.requests import Request
from starlette.responses import Response

from sentq.admin.dead_steps import RetryResult, Selection
from sentq.errors import Undecryptable
from sentq.gateway.console.audit import last_actions, record_action
from sentq.gateway.console.forms import FormOf
from sentq.gateway.console.pages import HOME, page, redirect
from sentq.gateway.console.visitors import Admin, SignedIn
from sentq.gateway.errors import InvalidRequest, PageNotFound
from sentq.gateway.services import GatewayServices, Services
from sentq.wire.clock import CLOCK
from sentq.wire.dead_letters import DeadLetter, DeadLetterCode

__all__ = ["add_to"]

_PATH: Final = f"{HOME}/dead-letters"

#: How many dead letters a page shows.
_SHOWN: Final = 100

#: How many actions the page lists.
_ACTIONS: Final = 20

#: The ages that the form offers: what is selected, and a name.
_AGES: Final[dict[str, tuple[Selection, str]]] = {
    "": (Selection(), "any age"),
    "1h": (Selection(newer_than_s=3600), "last hour"),
    "24h": (Selection(newer_than_s=86_400), "last 24 hours"),
    "older-1h": (Selection(older_than_s=3600), "older than 1 hour"),
    "older-24h": (Selection(older_than_s=86_400), "older than 24 hours"),
}

_ACTION_NAMES: Final = {"retry": "Send again", "drop": "Drop"}

_RESULT_NAMES: Final = {
    RetryResult.RETRIED: "sent again",
    RetryResult.ENDED: "had an outcome, so removed",
    RetryResult.NOT_FOUND: "not found any more",
    RetryResult.TRUNCATED: "kept: only a part of the message was kept",
}


async def show_dead_letters(
    request: Request,
    services: Services,
    visitor: SignedIn,
    code: str = "",
    age: str = "",
    done: str = "",
) -> Response:
    """List dead letters, the oldest first."""
    if code and code not in list(DeadLetterCode):
        raise InvalidRequest("there is no such cause of dead letters")
    if age not in _AGES:
        raise InvalidRequest("there is no such age in the form")
    selection = _AGES[age][0]
    selected = Selection((code,) if code else (), selection.older_than_s, selection.newer_than_s)
    found: list[DeadLetter] = []
    async for each in services.client.dead.entries(selected):
        found.append(each)
        if len(found) > _SHOWN:
            break
    return page(
        request,
        visitor,
        "dead_letters.html",
        actions=await last_actions(services.client, _ACTIONS) if visitor.is_admin else [],
        age=age,
        ages={name: label for name, (_, label) in _AGES.items()},
        code=code,
        codes=[each.value for each in DeadLetterCode],
        dead_letters=found[:_SHOWN],
        done=done in _ACTION_NAMES,
        is_more=len(found) > _SHOWN,
        now_s=CLOCK.unix_s(),
    )


async def show_dead_letter(
    request: Request,
    services: Services,
    visitor: SignedIn,
    dead_letter_id: Annotated[str, Path(pattern=r"^\d{1,20}-\d{1,20}$")],
) -> Response:
    """Show one dead letter."""
    found = await services.client.dead.get(dead_letter_id)
    if found is None:
        raise PageNotFound("there is no such dead letter any more: it was sent again or dropped")
    may_show = visitor.is_admin and services.settings.console_shows_texts
    texts, why_not = None, ""
    if may_show:
        try:
            texts = services.client.dead.texts(found)
            why_not = "" if texts is not None else "The message cannot be read."
        except Undecryptable:
            why_not = "The texts are encrypted, and this gateway has no key to decrypt them."
    elif visitor.is_admin:
        why_not = "Hidden. The setting gateway.console_shows_texts shows them."
    else:
        why_not = "Hidden."
    return page(
        request,
        visitor,
        "dead_letter.html",
        dead_letter=found,
        now_s=CLOCK.unix_s(),
        texts=texts,
        why_not=why_not,
    )


async def review(request: Request, services: Services, visitor: Admin, fields: FormOf) -> Response:
    """Say what an action would do with each selected dead letter. Nothing is done yet."""
    action = _action(fields.text("action"))
    found = await _selected(services, fields.texts("id"))
    return page(
        request,
        visitor,
        "review.html",
        action=action,
        action_name=_ACTION_NAMES[action],
        dead_letters=found,
        gone=len(set(fields.texts("id"))) - len(found),
        now_s=CLOCK.unix_s(),
    )


async def act(services: Services, visitor: Admin, fields: FormOf) -> Response:
    """Send dead letters again, or drop them."""
    action = _action(fields.text("action"))
    found = await _selected(services, fields.texts("id"))
    if action == "drop":
        dropped = await services.client.dead.drop([each.id for each in found]) if found else 0
        result = f"{dropped} dropped"
    else:
        results = Counter([await services.client.dead.retry(each) for each in found])
        result = ", ".join(f"{count} {_RESULT_NAMES[each]}" for each, count in results.items())
    subject = ", ".join(each.job_id or each.id for each in found)
    await record_action(services.client, visitor, f"{action} dead letters", subject, result)
    return redirect(f"{_PATH}?done={action}")


def _action(name: str) -> str:
    if name in _ACTION_NAMES:
        return name
    raise InvalidRequest("the form has no action")


async def _selected(services: GatewayServices, ids: Sequence[str]) -> list[DeadLetter]:
    """Return the dead letters of these ids that are still there.

    Raises:
        InvalidRequest: There is no id, or there are more than a page shows.
    """
    unique = sorted(set(ids))
    if not unique or len(unique) > _SHOWN:
        raise InvalidRequest(f"select at least one dead letter, and at most {_SHOWN}")
    found = [await services.client.dead.get(each) for each in unique]
    return [each for each in found if each is not None]


def add_to(router: APIRouter) -> None:
    """Add the pages to a router."""
    router.get("/dead-letters")(show_dead_letters)
    router.get("/dead-letters/{dead_letter_id}")(show_dead_letter)
    router.post("/dead-letters/review")(review)
    router.post("/dead-letters/act")(act)
