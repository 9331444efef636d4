"""The history of the last hour, for charts. Workers write it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sentq.connection.broker import BrokerKeys, run_on_broker
from sentq.wire.history.reading import HistorySlot, history_steps
from sentq.wire.steps import Steps

if TYPE_CHECKING:
    from celery import Celery

__all__ = ["read_history", "service_history_steps"]


def read_history(app: Celery) -> list[HistorySlot]:
    """Read what all workers completed, from the broker's Redis.

    Returns:
        A slot for each 15 s, the oldest first; the last one is not over yet.

    Raises:
        BrokerUnavailable: Redis did not answer, or refused.
        SettingsError: The broker is not Redis.
    """
    return run_on_broker(app, service_history_steps)


def service_history_steps(broker: BrokerKeys) -> Steps[list[HistorySlot]]:
    """Do what `read_history` does, in steps."""
    return history_steps(broker.prefix)
