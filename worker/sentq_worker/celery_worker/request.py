"""The Celery request of a job, which shows no text.

Events, Flower, `celery inspect` and Celery's own log lines all take their arguments from here.
"""

from __future__ import annotations

from typing import Any

from celery.states import REVOKED
from celery.worker.request import Request
from celery.worker.state import revoked

from sentq.contract import SEALED_FIELD, TASK_NAME, redacted
from sentq_worker.broker.message import id_in

__all__ = ["ScoreRequest"]


class ScoreRequest(Request):
    """A request whose arguments are shown as a count, even if the sender's header shows them."""

    #: As the sender wrote it, until it is checked.
    name: object

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not isinstance(self.name, str) or not self.name.isprintable():
            # The name that a sender gives the job goes into log lines as it is.
            self.name = TASK_NAME
        self._root_id = id_in(self._request_dict, "root_id")
        self._parent_id = id_in(self._request_dict, "parent_id")
        self._argsrepr = _shown(self._args, self._kwargs)
        self._kwargsrepr = "{}"
        self._request_dict.update(argsrepr=self._argsrepr, kwargsrepr=self._kwargsrepr)

    def send_event(self, type: str, **fields: object) -> None:  # noqa: A002 - its signature is Celery's
        """Send an event, if events of tasks are enabled (`-E`).

        Celery's dispatcher is on for the worker's heartbeat alone, and finds out for each event
        anew that events of tasks are off.
        """
        groups = getattr(self.eventer, "groups", None)
        if not groups or "task" in groups:
            super().send_event(type, **fields)

    @property
    def store_errors(self) -> bool:
        """Whether Celery stores how the request failed. Not if the job was cancelled: the first
        result stays."""
        if self.id in revoked and self.task.backend.get_state(self.id) == REVOKED:
            return False
        return bool(super().store_errors)

    def info(self, safe: bool = False) -> dict[str, object]:  # noqa: ARG002, FBT001, FBT002 - its signature is Celery's
        """Return what `celery inspect` shows: always the safe form."""
        shown: dict[str, object] = super().info(safe=True)
        return shown


def _shown(args: Any, kwargs: object) -> str:
    """Return what is shown in place of a job's arguments, which are not checked yet."""
    if isinstance(kwargs, dict) and SEALED_FIELD in kwargs:
        return "<encrypted texts>"
    texts = args[0] if args else kwargs.get("texts") if isinstance(kwargs, dict) else None
    return redacted(len(texts) if isinstance(texts, list) else 1)
