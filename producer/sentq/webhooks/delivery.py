"""The delivery of webhooks: take what is due, send each request, and record what became of it.

    Redis ── take (leased) ──▶ body, signed ── POST ──▶ delivered ──▶ removed
                                                  └───▶ failed ─────▶ due again later, or dead

Any number of processes deliver beside each other. A process keeps nothing: what it holds when it is
killed is due again when the lease expires. So each webhook is sent at least once, with the same id
each time.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from sentq.aio.driver import Drivers
from sentq.connection.broker import BrokerKeys
from sentq.errors import RedisUnavailable, SettingsError, UnknownBatch, WebhookRefused
from sentq.results.batch import progress_steps
from sentq.results.reader import ResultReader
from sentq.settings import Settings
from sentq.webhooks.events import Notice, UnreadableMessage, batch_body, job_body, read_notice
from sentq.webhooks.network.posting import Poster, PostResult
from sentq.webhooks.network.targets import TargetRules, WebhookTarget
from sentq.webhooks.retries import retry_delay_s
from sentq.webhooks.settings import WebhookSettings
from sentq.webhooks.signing import load_signer
from sentq.webhooks.store import (
    LeasedWebhook,
    Settlement,
    Taken,
    WebhookLimits,
    is_disabled_steps,
    settle_steps,
    take_steps,
)
from sentq.wire.steps import Steps

__all__ = ["Deliverer"]

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: How long an idle process waits before it looks again, in seconds.
_POLL_S: Final = 0.5

#: How long a lease holds beyond the time limit of a request: to record what became of it.
_LEASE_MARGIN_S: Final = 15.0

#: The pause after Redis did not answer, in seconds.
_OUTAGE_PAUSE_S: Final = 1.0

#: When a webhook is due again whose host has all its requests under way, in seconds.
_BUSY_PAUSE_S: Final = (2.0, 5.0)


@dataclass(frozen=True, slots=True)
class _Prepared:
    """What is sent, the same at each attempt.

    Attributes:
        url: Where to.
        owner: Whose secret signs it.
        body: The body.
        new_fields: What Redis does not have of it yet.
    """

    url: str
    owner: str
    body: bytes
    new_fields: dict[str, object]


class Deliverer:
    """Delivers webhooks in one event loop.

    Args:
        settings: The Redis, and the keys of encrypted outcomes.
        webhooks: Secrets, hosts and limits.

    Raises:
        SettingsError: There is no secret, a file of the settings cannot be read, or messages and
            results are not in one database of one Redis, so that there are no webhooks.
    """

    def __init__(self, settings: Settings, webhooks: WebhookSettings) -> None:
        if not settings.is_single_redis:
            raise SettingsError(
                "webhooks need messages and results in one database of one Redis, without a prefix"
            )
        self._settings = webhooks
        self._signer = load_signer(webhooks)
        self._rules = TargetRules(webhooks)
        self._limits = WebhookLimits(
            webhooks.max_waiting, webhooks.max_dead, settings.dead_letter_ttl_s
        )
        self._results = ResultReader.open(settings)
        self._drivers = Drivers(self._results)
        self._poster = Poster(webhooks, self._rules)
        self._in_flight: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()
        #: Whether the last attempt to take webhooks failed.
        self._is_away = False
        self._looked_s = time.monotonic()

    def stop(self) -> None:
        """Take no more webhooks: `run` ends when the requests under way have ended."""
        self._stopping.set()

    @property
    def idle_s(self) -> float:
        """For how long it has not looked for webhooks, in seconds. It does so every second, or as
        soon as Redis answers or fails to."""
        return time.monotonic() - self._looked_s

    async def run(self) -> None:
        """Deliver until `stop` is called. While Redis does not answer, it is asked again."""
        try:
            while not self._stopping.is_set():
                self._looked_s = time.monotonic()
                if not await self._take():
                    await self._wait(_POLL_S)
            if self._tasks:
                await asyncio.wait(self._tasks)
        finally:
            for task in self._tasks:
                task.cancel()
            await self._poster.aclose()
            await self._drivers.aclose()

    async def _take(self) -> bool:
        """Take what is due and start to send it; return whether more may be due now."""
        free = self._settings.in_flight - len(self._tasks)
        if free <= 0:
            return False
        try:
            taken = await self._run(
                lambda broker: take_steps(
                    broker,
                    most=free,
                    lease_s=self._settings.timeout_s + _LEASE_MARGIN_S,
                    limits=self._limits,
                    most_per_host=self._settings.in_flight_per_host,
                    in_flight=self._in_flight,
                )
            )
        except RedisUnavailable as error:
            if not self._is_away:
                logger.warning("webhooks cannot be taken until Redis answers: %s", error)
            self._is_away = True
            await self._wait(_OUTAGE_PAUSE_S)
            return False
        if self._is_away:
            logger.warning("webhooks are taken again")
        self._is_away = False
        for webhook in taken.webhooks:
            self._start(webhook, taken)
        return taken.may_have_more and len(self._tasks) < self._settings.in_flight

    async def _wait(self, seconds: float) -> None:
        """Wait until a request ends, `stop` is called, or so much time has passed."""
        stopping = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait(
                {stopping, *self._tasks}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            stopping.cancel()

    def _start(self, webhook: LeasedWebhook, taken: Taken) -> None:
        delivery = self._deliver(webhook, taken.now_ms)
        task = asyncio.create_task(delivery, name=f"sentq-webhook-{webhook.id}")
        self._tasks.add(task)
        task.add_done_callback(self._end)

    def _end(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        # In either case the lease expires, and the webhook is tried again.
        if isinstance(error, RedisUnavailable):
            logger.warning("what became of a webhook could not be recorded: %s", error)
        elif error is not None:
            logger.error("a webhook could not be handled: %s", type(error).__name__, exc_info=error)

    async def _deliver(self, webhook: LeasedWebhook, now_ms: int) -> None:
        taken_s = time.monotonic()
        try:
            prepared = await self._prepared(webhook)
        except UnreadableMessage as error:
            await self._settle(webhook, Settlement.DEAD, {"last_error": str(error)})
            return
        fields = prepared.new_fields
        try:
            target = self._rules.check(prepared.url)
        except WebhookRefused as error:
            await self._settle(webhook, Settlement.DEAD, fields | {"last_error": str(error)})
            return
        fields |= {"host": target.origin}
        if self._in_flight[target.origin] >= self._settings.in_flight_per_host:
            fields |= {"attempts": webhook.attempts - 1}
            pause_s = random.uniform(*_BUSY_PAUSE_S)  # noqa: S311 - not a secret
            await self._settle(webhook, Settlement.RETRY, fields, delay_s=pause_s)
            return
        self._in_flight[target.origin] += 1
        try:
            if await self._run(lambda broker: is_disabled_steps(broker, prepared.url)):
                result = PostResult(None, "the receiver has answered 410 before", is_refused=True)
            else:
                at_s = now_ms / 1000 + time.monotonic() - taken_s
                result = await self._send(webhook, prepared, target, at_s)
        finally:
            self._in_flight[target.origin] -= 1
            self._in_flight += Counter()  # without those of no request
        now_ms += round((time.monotonic() - taken_s) * 1000)
        await self._conclude(webhook, target, result, fields, now_ms)

    async def _prepared(self, webhook: LeasedWebhook) -> _Prepared:
        """Return what is sent. At the first attempt it is made of the message.

        Raises:
            UnreadableMessage: The message is not that of a webhook.
        """
        fields = webhook.fields
        if (body := fields.get("body")) is not None:
            return _Prepared(fields["url"].decode(), fields["owner"].decode(), body, {})
        notice = read_notice(fields.get("message", b""))
        body = await self._body_of(notice, webhook.first_ms)
        new: dict[str, object] = {
            "url": notice.url,
            "owner": notice.owner,
            "kind": "batch" if notice.job is None else "job",
            "subject_id": notice.subject_id,
            "body": body,
        }
        return _Prepared(notice.url, notice.owner, body, new)

    async def _body_of(self, notice: Notice, at_ms: int) -> bytes:
        if notice.job is not None:
            return job_body(notice, at_ms, self._results.keyring)
        try:
            steps = progress_steps(self._results, notice.subject_id)
            progress = await self._drivers.current().run(steps)
        except UnknownBatch:
            progress = None
        return batch_body(notice.subject_id, progress, at_ms)

    async def _send(
        self, webhook: LeasedWebhook, prepared: _Prepared, target: WebhookTarget, at_s: float
    ) -> PostResult:
        headers = self._signer.headers(webhook.id, at_s, prepared.body, owner=prepared.owner)
        return await self._poster.post(target, headers, prepared.body)

    async def _conclude(
        self,
        webhook: LeasedWebhook,
        target: WebhookTarget,
        result: PostResult,
        fields: dict[str, object],
        now_ms: int,
    ) -> None:
        """Decide what becomes of a webhook after an attempt."""
        if result.error is None:
            await self._settle(webhook, Settlement.DELIVERED)
            return
        status = "" if result.status is None else result.status
        fields |= {"last_ms": now_ms, "last_status": status, "last_error": result.error}
        delay_s = retry_delay_s(webhook.attempts, asked_s=result.retry_after_s)
        ends_ms = webhook.first_ms + self._settings.lifetime_s * 1000
        if result.is_gone:
            settlement = Settlement.GONE
        elif result.is_refused or now_ms + delay_s * 1000 > ends_ms:
            settlement = Settlement.DEAD
        else:
            settlement = Settlement.RETRY
        level = logging.INFO if settlement is Settlement.RETRY else logging.WARNING
        # Only the origin: the path may be a secret.
        logger.log(
            level,
            "webhook %s to %s failed at attempt %d: %s; %s",
            *(webhook.id, target.origin, webhook.attempts, result.error),
            f"it is tried again in {delay_s:.0f} s"
            if settlement is Settlement.RETRY
            else "it is tried no more: `sentq webhooks list --dead`",
        )
        await self._settle(webhook, settlement, fields, delay_s=delay_s)

    async def _settle(
        self,
        webhook: LeasedWebhook,
        settlement: Settlement,
        fields: dict[str, object] | None = None,
        *,
        delay_s: float = 0.0,
    ) -> None:
        """Record what became of a webhook. While Redis does not answer, try for as long as the
        lease may hold: after that the webhook is sent again."""
        end_s = time.monotonic() + _LEASE_MARGIN_S
        while True:
            try:
                await self._run(
                    lambda broker: settle_steps(
                        broker,
                        webhook,
                        settlement,
                        limits=self._limits,
                        delay_s=delay_s,
                        fields=fields,
                    )
                )
            except RedisUnavailable:
                if time.monotonic() > end_s:
                    raise
                await asyncio.sleep(_OUTAGE_PAUSE_S)
            else:
                return

    async def _run(self, make_steps: Callable[[BrokerKeys], Steps[T]]) -> T:
        return await self._drivers.current().run_on_broker(make_steps)
