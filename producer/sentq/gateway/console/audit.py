"""The audit log: who has done what in the console. No entry has a text.

    sentq-gateway-audit   list   the last 1,000 actions as JSON, the latest first

Each action is a line of the gateway's log too, which the operator keeps for as long as needed.
"""

from __future__ import annotations

import logging
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

from sentq.gateway.client import GatewayClient
from sentq.gateway.console.visitors import Visitor
from sentq.wire.clock import CLOCK
from sentq.wire.steps import RoundTrip

__all__ = ["AuditEntry", "last_actions", "record_action"]

logger = logging.getLogger(__name__)

_KEY: Final = "sentq-gateway-audit"
_MAX_ENTRIES: Final = 1000


class AuditEntry(BaseModel):
    """An action.

    Attributes:
        at_s: When it was done, in Unix seconds.
        key_id: The id of the key that has done it; empty in an open gateway.
        key_name: What an operator calls the key.
        action: What was done.
        subject: To what: ids, or counts.
        result: How it ended.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    at_s: float
    key_id: str
    key_name: str
    action: str
    subject: str = ""
    result: str = ""


async def record_action(
    client: GatewayClient, visitor: Visitor, action: str, subject: str = "", result: str = ""
) -> None:
    """Record an action.

    Args:
        client: Writes it.
        visitor: Who has done it.
        action, subject, result: As in `AuditEntry`.

    Raises:
        ResultsUnavailable: Redis did not answer, or refused. The line of the log is written.
    """
    entry = AuditEntry(
        at_s=CLOCK.unix_s(),
        key_id=visitor.key_id,
        key_name=visitor.name,
        action=action,
        subject=subject,
        result=result,
    )
    logger.info(
        "audit: %s by %s: %s: %s", action, visitor.key_id or "no key", subject or "-", result or "-"
    )
    key = client.key(_KEY)
    await client.ask(
        RoundTrip([("LPUSH", key, entry.model_dump_json()), ("LTRIM", key, 0, _MAX_ENTRIES - 1)])
    )


async def last_actions(client: GatewayClient, count: int) -> list[AuditEntry]:
    """Return the last actions, the latest first.

    Raises:
        ResultsUnavailable: Redis did not answer, or refused.
    """
    entries = []
    for raw in await client.ask(("LRANGE", client.key(_KEY), 0, count - 1)):
        try:
            entries.append(AuditEntry.model_validate_json(raw))
        except ValidationError:
            continue
    return entries
