"""Deliver webhooks beside something else that a process does, such as to be a gateway."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from sentq.errors import SettingsError

if TYPE_CHECKING:
    from sentq.settings import Settings
    from sentq.webhooks.delivery import Deliverer
    from sentq.webhooks.settings import WebhookSettings

__all__ = ["delivering", "make_deliverer"]

logger = logging.getLogger(__name__)

_MISSING: Final = 'webhooks need the packages of an extra: pip install "sentq[webhooks]"'


def make_deliverer(settings: Settings, webhooks: WebhookSettings) -> Deliverer:
    """Return what delivers webhooks. Its packages are imported here.

    Raises:
        SettingsError: A package is missing; or as `Deliverer` does.
    """
    try:
        from sentq.webhooks.delivery import Deliverer
    except ImportError as error:
        raise SettingsError(f"{_MISSING} ({error.name} is missing)") from error
    return Deliverer(settings, webhooks)


@asynccontextmanager
async def delivering(deliverer: Deliverer | None, *, grace_s: float) -> AsyncIterator[None]:
    """Deliver during the block.

    Args:
        deliverer: Delivers; None for none.
        grace_s: How long requests to receivers may go on after the block, in seconds. Those that
            are cut off are sent again by another process.
    """
    if deliverer is None:
        yield
        return
    task = asyncio.create_task(deliverer.run(), name="sentq-webhooks")
    task.add_done_callback(_report)
    try:
        yield
    finally:
        deliverer.stop()
        await asyncio.wait({task}, timeout=grace_s)
        task.cancel()
        await asyncio.wait({task})


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.error("webhooks are delivered no longer by this process", exc_info=error)
