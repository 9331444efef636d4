"""*Now*: queues, workers, the Hub's budget and the last hour. The page is whole without JavaScript;
with it, parts of it are replaced as they change."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from typing import Any, Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from sentq.admin.hub_budget import HubBudget
from sentq.admin.status import LONGEST_DRAIN_S, ServiceStatus
from sentq.errors import BrokerUnavailable, ResultsUnavailable
from sentq.gateway.console.charts import HEIGHT, WIDTH, charts_of, series_of
from sentq.gateway.console.pages import HEADERS, fragment, page
from sentq.gateway.console.visitors import SignedIn, signed_in
from sentq.gateway.errors import GatewayError
from sentq.gateway.services import GatewayServices, Services
from sentq.wire.reports import WorkerReport

__all__ = ["add_to"]

#: How often the status is read for a page that is open, in seconds.
_REFRESH_S: Final = 2.0

#: A worker reports at least every four seconds. After so many seconds a page says that it does not.
_SILENT_AFTER_S: Final = 8.0

#: How long a browser waits before it connects again, in milliseconds.
_RETRY: Final = b"retry: 3000\n\n"
_HEARTBEAT: Final = b": nothing has changed\n\n"

#: What the Hub's budget limits.
_UNITS: Final = {"calls": "Calls", "chars": "Characters"}

#: Parts of the page, each with a template of its own.
_PARTS: Final = ("figures", "queues", "workers", "budget")


async def show_now(request: Request, services: Services, visitor: SignedIn) -> Response:
    """Show the service as it is now."""
    status = await services.client.service_status()
    history = (await services.client.service_history())[:-1]
    return page(
        request,
        visitor,
        "now.html",
        charts=charts_of(history),
        chart_height=HEIGHT,
        chart_width=WIDTH,
        refresh_s=10,
        **_values(status),
    )


async def send_history(services: Services, _visitor: SignedIn) -> Response:
    """Send the series of the charts."""
    history = (await services.client.service_history())[:-1]
    return JSONResponse(series_of(history), headers=HEADERS)


async def follow_now(request: Request, services: Services, _visitor: SignedIn) -> Response:
    """Send the parts of the page that have changed, until the browser goes."""
    events = _events(request, services)
    headers = {**HEADERS, "X-Accel-Buffering": "no"}
    return StreamingResponse(events, media_type="text/event-stream", headers=headers)


async def _events(request: Request, services: GatewayServices) -> AsyncGenerator[bytes, None]:
    yield _RETRY
    sent: Mapping[str, str] = {}
    while not services.closing.has_begun:
        try:
            await signed_in(request, services)  # The session may have ended, or its key.
            values = _values(await services.client.service_status())
        except GatewayError:
            yield b"event: ended\ndata: \n\n"
            return
        except (BrokerUnavailable, ResultsUnavailable):
            yield b"event: outage\ndata: \n\n"
        else:
            parts = {name: fragment(f"parts/{name}.html", **values) for name in _PARTS}
            changed = {name: html for name, html in parts.items() if sent.get(name) != html}
            sent = parts
            yield _event("parts", changed) if changed else _HEARTBEAT
        with suppress(TimeoutError):
            async with asyncio.timeout(_REFRESH_S), services.closing.interrupts():
                await asyncio.Event().wait()


def _event(name: str, data: Mapping[str, str]) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()


def _values(status: ServiceStatus) -> dict[str, Any]:
    return {
        "service": status,
        "workers": [_Worker(report, status.at_s) for report in status.workers],
        "drain_s": _drain_s(status.ready_jobs, status),
        "drain_of": {queue.name: _drain_s(queue.waiting_jobs, status) for queue in status.queues},
        "most_waiting": max((queue.waiting_jobs for queue in status.queues), default=0),
        "budget": [_Limit(budget, status.at_s) for budget in status.hub_budget],
    }


def _drain_s(jobs: int, status: ServiceStatus) -> float | None:
    """Return how long the workers need for so many jobs; None if their pace does not tell."""
    if status.pace_jobs_per_s <= 0:
        return None
    drain_s = jobs / status.pace_jobs_per_s
    return drain_s if drain_s <= LONGEST_DRAIN_S else None


class _Worker:
    """A worker as the page shows it.

    Args:
        report: Its report.
        now_s: The time of the status.
    """

    def __init__(self, report: WorkerReport, now_s: float) -> None:
        self.report = report
        self.silent_s = max(0.0, now_s - report.at_s)
        self.up_s = max(0.0, now_s - report.started_at_s)
        if self.silent_s > _SILENT_AFTER_S:
            self.state, self.kind = f"silent for {self.silent_s:.0f} s", "bad"
        elif report.waiting_for is not None:
            self.state, self.kind = "cannot score", "warn"
        elif report.model is None:
            self.state, self.kind = "loading", "warn"
        elif report.in_flight_jobs:
            self.state, self.kind = "busy", "good"
        else:
            self.state, self.kind = "idle", "calm"
        self.breakers = [
            (name, state)
            for name, state in (("Hub", report.breaker), ("local", report.local_breaker))
            if state is not None
        ]


class _Limit:
    """A limit of the Hub's budget as the page shows it.

    Args:
        budget: The limit.
        now_s: The time of the status.
    """

    def __init__(self, budget: HubBudget, now_s: float) -> None:
        self.budget = budget
        self.name = f"{_UNITS[budget.unit]} a {budget.period}"
        self.rest_s = max(0.0, budget.ends_at_s - now_s)
        self.state, self.kind = ("used up", "bad") if budget.is_used_up else ("within", "good")


def add_to(router: APIRouter) -> None:
    """Add the pages to a router."""
    router.get("")(show_now)
    router.get("/now/history")(send_history)
    router.get("/now/events")(follow_now)
