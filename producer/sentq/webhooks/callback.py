"""A webhook as a callback: a signature of Celery whose message is delivered by HTTP.

    client.submit(…, then=webhook(url))
      worker   stores how the job ended, and pushes the message into `sentq.webhooks`, in one step
      gateway  takes the message and sends the request

So a job or batch that ended has its webhook, however its worker ends, and workers need no access to
the receivers.
"""

from __future__ import annotations

import re
from typing import Any, Final

from sentq.errors import WebhookRefused
from sentq.webhooks.network.targets import parse_target

__all__ = ["WEBHOOKS_QUEUE", "WEBHOOK_TASK", "webhook"]

#: The name in the messages. No Celery worker has such a task.
WEBHOOK_TASK: Final = "sentq.webhook"

#: Their queue, which is also the list in Redis.
WEBHOOKS_QUEUE: Final = "sentq.webhooks"

_OWNER: Final = re.compile(r"[A-Za-z0-9_.-]{0,64}", re.ASCII)


def webhook(url: str, *, outcomes: bool = False, owner: str = "") -> dict[str, Any]:
    """Return the `then` of a job or a batch that sends a webhook.

    Workers with `follow_tasks` or `follow_queues` must name `sentq.webhook` and `sentq.webhooks`
    there. What is delivered needs a gateway, or `sentq webhooks deliver`; what their operator does
    not allow is not sent, and is listed by `sentq webhooks list`.

    Args:
        url: Where the request is sent.
        outcomes: Whether that of a job contains the outcomes of its texts: labels and scores, but
            never a text. That of a batch has counts only.
        owner: Whose secret signs it, as `sentq webhooks secret` names it.

    Raises:
        WebhookRefused: The URL is malformed, or the owner is not of letters, digits, `_`, `.` and
            `-`.
    """
    parse_target(url)
    if not _OWNER.fullmatch(owner):
        raise WebhookRefused("the owner of a webhook is up to 64 letters, digits, _, . and -")
    return {
        "task": WEBHOOK_TASK,
        "args": [{"url": url, "outcomes": bool(outcomes), "owner": owner}],
        "kwargs": {},
        "options": {"queue": WEBHOOKS_QUEUE},
        "immutable": False,
        "argument": "outcome",
    }
