"""From the settings to a provider: the local engine, the Hub, or both."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from celery.utils.nodenames import gethostname

from sentq.contract import MAIN_MODEL, Limits
from sentq.errors import SettingsError
from sentq_worker.engine.provider import JobScorer, Provider
from sentq_worker.providers.breaker import Breaker
from sentq_worker.providers.breaker_store import SharedBreakerState
from sentq_worker.providers.fallback import FallbackProvider
from sentq_worker.providers.languages import language_rule, languages_of_local_model
from sentq_worker.providers.loading import (
    LoadScorer,
    check_model_memory,
    load_for_rolls,
    load_others,
)
from sentq_worker.providers.local import LocalLabels, LocalProvider, is_device_back
from sentq_worker.providers.results_redis import key_prefix, results_client
from sentq_worker.settings import HubSettings, WorkerSettings

if TYPE_CHECKING:
    import redis
    from celery import Celery

    from sentq_worker.providers.hub.pool import HubPool
    from sentq_worker.providers.hub.provider import HubProvider
    from sentq_worker.providers.hub.windows import Windower

__all__ = ["make_provider"]

_NO_HUB: Final = 'the Hub needs its client: pip install "sentq[hub]"'


def make_provider(
    worker: WorkerSettings,
    hub: HubSettings,
    *,
    limits: Limits,
    load: LoadScorer,
    app: Celery,
    now_ms: Callable[[], float],
) -> Provider:
    """Make the provider that the policies ask for. Loads no model and calls nothing yet.

    Args:
        worker: The worker's settings.
        hub: The settings of calls to the Hub.
        limits: The contract's limits.
        load: Makes the scorer of a local model.
        app: The app whose Redis of results stores budget and breaker states.
        now_ms: Redis' clock.

    Raises:
        SettingsError: A policy needs the Hub, and the settings name no model there; further models
            are named without the local engine, or are needed and not named.
    """
    wanted = worker.policies
    if wanted == {"hub"} and worker.models:
        raise SettingsError(
            "worker.models needs the local engine: set worker.provider to local or prefer-local"
        )
    if worker.on_other_language == "route" and not worker.models_at_start:
        raise SettingsError(
            'worker.on_other_language = "route" needs another model: add a table '
            "[worker.models.NAME] with a model"
        )

    def load_main() -> JobScorer:
        check_model_memory(worker, [MAIN_MODEL, *worker.models_at_start])
        return load(worker, limits)

    local = LocalProvider(
        load_main,
        load_others(load, worker, limits),
        load_for_rolls(load, worker, limits),
    )
    if wanted == {"local"}:
        return local
    connect, prefix = partial(results_client, app), key_prefix(app)
    shared_state = SharedBreakerState(connect, host=gethostname(), prefix=prefix)
    make_hub = partial(
        _hub_provider,
        *(worker, hub),
        limits=limits,
        now_ms=now_ms,
        connect=connect,
        prefix=prefix,
        shared_state=shared_state,
    )
    if wanted == {"hub"}:
        return make_hub(expected_labels=lambda: None)
    return FallbackProvider(
        local,
        make_hub(expected_labels=LocalLabels(worker, local)),
        policy=lambda queue: worker.queue_providers.get(queue, worker.provider),
        breaker=Breaker(
            f"local:{worker.device}@{os.getpid()}",
            failures=hub.breaker_failures,
            probe_interval_s=hub.probe_interval_s,
        ),
        probe_interval_s=hub.probe_interval_s,
        backlog_limit_s=hub.backlog_limit_s,
        now_ms=now_ms,
        shared_state=shared_state,
        is_device_back=is_device_back,
    )


def _hub_provider(
    worker: WorkerSettings,
    settings: HubSettings,
    *,
    limits: Limits,
    now_ms: Callable[[], float],
    connect: Callable[[], redis.Redis],
    prefix: str,
    shared_state: SharedBreakerState,
    expected_labels: Callable[[], Sequence[str] | None],
) -> HubProvider:
    try:
        # A worker that never calls the Hub needs no client of it.
        from sentq_worker.providers.hub.provider import HubProvider
        from sentq_worker.providers.hub.target import hub_model, refuse_readable_token
        from sentq_worker.providers.hub.tokenizer import make_windower
    except ImportError as error:
        raise SettingsError(_NO_HUB) from error

    model = hub_model(worker, settings)
    refuse_readable_token(settings)
    breaker = Breaker(
        f"the Hub ({model})",
        failures=settings.breaker_failures,
        probe_interval_s=settings.probe_interval_s,
    )

    def open_hub() -> tuple[HubPool, Windower]:
        pool = _hub_pool(
            settings,
            model,
            breaker=breaker,
            connect=connect,
            prefix=prefix,
            shared_state=shared_state,
        )
        return pool, make_windower(worker, settings)

    return HubProvider(
        open_hub,
        breaker=breaker,
        model=model,
        limits=limits,
        now_ms=now_ms,
        renamed=settings.labels,
        expected_labels=expected_labels,
        window_join=worker.window_join,
        make_languages=lambda: language_rule(worker, languages_of_local_model(worker)),
        clean=worker.clean,
    )


def _hub_pool(
    settings: HubSettings,
    model: str,
    *,
    breaker: Breaker,
    connect: Callable[[], redis.Redis],
    prefix: str,
    shared_state: SharedBreakerState,
) -> HubPool:
    from sentq_worker.providers.hub.budget import Budget, BudgetLimits
    from sentq_worker.providers.hub.client import HubClient
    from sentq_worker.providers.hub.pool import HubOptions, HubPool
    from sentq_worker.providers.hub.target import make_target

    target = make_target(settings, model)
    budget = BudgetLimits(
        settings.calls_per_day,
        settings.chars_per_day,
        settings.calls_per_month,
        settings.chars_per_month,
    )
    return HubPool(
        partial(HubClient, target, timeout_s=settings.call_timeout_s),
        options=HubOptions(
            in_flight=settings.in_flight,
            call_timeout_s=settings.call_timeout_s,
            total_timeout_s=settings.total_timeout_s,
            attempts=settings.attempts,
            retry_after_limit_s=settings.retry_after_limit_s,
            payment_pause_s=settings.payment_pause_s,
            fails_on_budget=settings.on_budget_exhausted == "fail",
        ),
        breaker=breaker,
        budget=Budget(connect, budget, prefix=prefix),
        shared_state=shared_state,
    )
