"""Jobs with what shall follow them, written as a hostile sender can write them."""

from __future__ import annotations

import json
import uuid
from typing import Any

from tests.corpus.messages import message, raw
from tests.support.celery.site import Site

__all__ = ["canvas", "link", "send_with_links"]


def link(task: str = "followup.save", /, **options: Any) -> dict[str, Any]:
    """Return a signature of a task, with these options."""
    return {
        "task": task,
        "args": [],
        "kwargs": {},
        "options": options,
        "subtask_type": None,
        "immutable": False,
    }


def canvas(kind: str, /, **kwargs: Any) -> dict[str, Any]:
    """Return a signature of signatures: a group, chain or chord."""
    return link(f"celery.{kind}") | {"kwargs": kwargs, "subtask_type": kind}


def send_with_links(site: Site, embed: dict[str, Any], **headers: Any) -> str:
    """Send a job with the last part of its body (`callbacks`, `chain`, …); return its id."""
    job_id = str(uuid.uuid4())
    body = json.dumps([[["a text"]], {}, embed])
    site.redis.lpush("sentq", raw(message(body, job_id=job_id, headers=headers)))
    return job_id
