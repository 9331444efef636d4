"""Valid messages, as Celery writes them, from which cases are made."""

from __future__ import annotations

import base64
import json
import uuid
from typing import Any

from tests.corpus.expected import CANARY

__all__ = ["GOOD_BODY", "body_of", "encoded", "message", "protocol1", "raw", "without"]


def body_of(*texts: Any) -> str:
    """Return the body of a job of these texts, with other characters than ASCII escaped."""
    return json.dumps([[list(texts)], {}, {}])


#: The body of a job that can be scored.
GOOD_BODY = body_of(f"{CANARY} text")


def encoded(body: str | bytes) -> str:
    """Return a body in base64, as messages hold it."""
    data = body.encode("utf-8", "surrogateescape") if isinstance(body, str) else body
    return base64.b64encode(data).decode()


def message(body: str | bytes = GOOD_BODY, /, **changes: Any) -> dict[str, Any]:
    """Return a job's message as Celery sends it, with some changes.

    Entries of `headers` and `properties` replace single values, other arguments whole parts.
    """
    job_id = changes.pop("job_id", None) or str(uuid.uuid4())
    properties = {
        "correlation_id": job_id,
        "reply_to": job_id,
        "delivery_mode": 2,
        "delivery_info": {"exchange": "", "routing_key": "sentq"},
        "priority": 0,
        "body_encoding": "base64",
        "delivery_tag": job_id,
    }
    headers: dict[str, Any] = {
        "lang": "py",
        "task": "sentq.score",
        "id": job_id,
        "root_id": job_id,
        "parent_id": None,
        "group": None,
        "eta": None,
        "expires": None,
        "retries": 0,
        "timelimit": [None, None],
        "argsrepr": CANARY,
        "kwargsrepr": "{}",
        "ignore_result": False,
        "stamped_headers": None,
        "stamps": {},
    }
    whole: dict[str, Any] = {
        "body": encoded(body),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": headers | changes.pop("headers", {}),
        "properties": properties | changes.pop("properties", {}),
    }
    return whole | {name.replace("_", "-"): value for name, value in changes.items()}


def without(part: str, name: str, **changes: Any) -> dict[str, Any]:
    """Return a message without one header or property."""
    changed = message(**changes)
    del changed[part][name]
    return changed


def protocol1(**changes: Any) -> dict[str, Any]:
    """Return a job in Celery's protocol 1, whose body holds all options."""
    job_id = changes.get("id") or str(uuid.uuid4())
    body: dict[str, Any] = {
        "task": "sentq.score",
        "id": job_id,
        "args": [[f"{CANARY} text"]],
        "kwargs": {},
        "retries": 0,
        "eta": None,
        "expires": None,
        "utc": True,
        "callbacks": None,
        "errbacks": None,
        "timelimit": [None, None],
        "taskset": None,
        "chord": None,
    }
    body |= changes
    body = {name: value for name, value in body.items() if value is not ...}
    whole = message(json.dumps(body), job_id=job_id if isinstance(job_id, str) else None)
    return whole | {"headers": {}}


def raw(whole: dict[str, Any]) -> bytes:
    """Return the bytes of a message in Redis."""
    return json.dumps(whole).encode()
