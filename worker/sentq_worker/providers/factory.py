"""Who answers: from settings to the engine of this process, the Hub, or both."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from celery.utils.nodenames import gethostname
from pydantic import SecretStr

from sentq.contract import Limits
from sentq.errors import SettingsError
from sentq_worker.engine.base import ModelUnavailable
from sentq_worker.engine.provider import JobScorer, Provider
from sentq_worker.inference.model_files import find_model
from sentq_worker.providers.breaker import Breaker
from sentq_worker.providers.breaker_store import SharedBreakerState
from sentq_worker.providers.fallback import FallbackProvider
from sentq_worker.providers.local import LocalProvider
from sentq_worker.scoring.labels import Labels
from sentq_worker.settings import HubSettings, ProviderPolicy, WorkerSettings

if TYPE_CHECKING:
    from celery import Celery

    from sentq_worker.providers.hub.pool import HubPool
    from sentq_worker.providers.hub.provider import HubProvider
    from sentq_worker.providers.hub.windows import Windower

__all__ = ["make_provider", "policies"]

logger = logging.getLogger(__name__)

_NO_HUB: Final = 'the Hub needs its client: pip install "sentq[hub]"'

#: Tokens of a window where nobody says how many the model reads at once.
_WINDOW_TOKENS: Final = 512

_CHECK_DEVICE: Final = "import sys, torch; torch.zeros(1, device=sys.argv[1]).add(1).item()"


def policies(worker: WorkerSettings) -> set[ProviderPolicy]:
    """All that are in force."""
    return {worker.provider, *worker.queue_providers.values()}


def make_provider(
    worker: WorkerSettings,
    hub: HubSettings,
    *,
    limits: Limits,
    load: Callable[[], JobScorer],
    app: Celery,
    now_ms: Callable[[], float],
) -> Provider:
    """Make what answers, as the policies say. Loads and asks nothing yet.

    Args:
        worker: The worker's settings.
        hub: How the Hub is asked.
        limits: The contract's.
        load: Makes the local scorer.
        app: Whose results' Redis holds budget and verdicts.
        now_ms: Redis' clock.

    Raises:
        SettingsError: A policy needs the Hub, and the settings do not say what to ask there.
    """
    local = LocalProvider(load)
    wanted = policies(worker)
    if wanted == {"local"}:
        return local
    connect = partial(_connect, app)
    options = app.conf.get("result_backend_transport_options") or {}
    prefix: str = options.get("global_keyprefix", "")
    shared_state = SharedBreakerState(connect, host=gethostname(), prefix=prefix)
    make = partial(
        _hub_scorer,
        *(worker, hub),
        limits=limits,
        now_ms=now_ms,
        connect=connect,
        prefix=prefix,
        shared_state=shared_state,
    )
    if wanted == {"hub"}:
        return make(expected_labels=lambda: None)
    return FallbackProvider(
        local,
        make(expected_labels=_LocalLabels(worker, local)),
        policy=lambda queue: worker.queue_providers.get(queue, worker.provider),
        breaker=Breaker(
            f"local:{worker.device}@{os.getpid()}",
            failures=hub.breaker_failures,
            probe_interval_s=hub.probe_interval_s,
        ),
        probe_interval_s=hub.probe_interval_s,
        backlog_limit_s=hub.backlog_limit_s,
        shared_state=shared_state,
        is_device_back=_is_device_back,
    )


def _connect(app: Celery) -> Any:
    return app.backend.client


def _hub_scorer(
    worker: WorkerSettings,
    settings: HubSettings,
    *,
    limits: Limits,
    now_ms: Callable[[], float],
    connect: Callable[[], Any],
    prefix: str,
    shared_state: SharedBreakerState,
    expected_labels: Callable[[], Sequence[str] | None],
) -> HubProvider:
    try:
        # What a worker that never asks the Hub need not have, nor import.
        from sentq_worker.providers.hub.provider import HubProvider
    except ImportError as error:
        raise SettingsError(_NO_HUB) from error

    model = _model(worker, settings)
    breaker = Breaker(
        f"the Hub ({model})",
        failures=settings.breaker_failures,
        probe_interval_s=settings.probe_interval_s,
    )

    def make() -> tuple[HubPool, Windower]:
        hub = _hub(
            settings,
            model,
            breaker=breaker,
            connect=connect,
            prefix=prefix,
            shared_state=shared_state,
        )
        return hub, _slicer(worker, settings)

    return HubProvider(
        make,
        breaker=breaker,
        model=model,
        limits=limits,
        now_ms=now_ms,
        renamed=settings.labels,
        expected_labels=expected_labels,
        window_join=worker.window_join,
    )


def _hub(
    settings: HubSettings,
    model: str,
    *,
    breaker: Breaker,
    connect: Callable[[], Any],
    prefix: str,
    shared_state: SharedBreakerState,
) -> HubPool:
    from sentq_worker.providers.hub import budget
    from sentq_worker.providers.hub.client import HubClient, Target
    from sentq_worker.providers.hub.pool import HubOptions, HubPool

    url = settings.endpoint or f"{settings.router.rstrip('/')}/models/{model}"
    target = Target(
        model,
        url,
        _token(settings),
        bill_to=settings.bill_to,
        function_to_apply=settings.function_to_apply,
        is_multi_label=settings.multi_label,
        is_looked_up=settings.endpoint is None,
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
        budget=budget.Budget(
            connect,
            budget.BudgetLimits(
                settings.calls_per_day,
                settings.chars_per_day,
                settings.calls_per_month,
                settings.chars_per_month,
            ),
            prefix=prefix,
        ),
        shared_state=shared_state,
    )


def _model(worker: WorkerSettings, settings: HubSettings) -> str:
    """The model's name: its id, or the endpoint's address without what may be secret in it.

    Raises:
        SettingsError: Nobody says which model.
    """
    if settings.model is not None:
        return settings.model
    if (
        worker.model
        and worker.model.count("/") == 1
        and not worker.model.startswith((".", "/", "~"))
    ):
        return worker.model
    if settings.endpoint is not None:
        address = settings.endpoint.partition("?")[0]
        return address.rpartition("@")[2].partition("://")[2] or address.rpartition("@")[2]
    raise SettingsError(
        "the policy needs a model at the Hub: set SENTQ_WORKER_HUB_MODEL to its id, such as "
        "owner/name, or SENTQ_WORKER_HUB_ENDPOINT to the URL of an endpoint of its own"
    )


def _token(settings: HubSettings) -> SecretStr | None:
    """The token, where there is one.

    Raises:
        ModelUnavailable: It must be there and is not.
    """
    from huggingface_hub import get_token

    if settings.token_file is not None:
        try:
            token = settings.token_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ModelUnavailable(
                f"the token file {settings.token_file} cannot be read: {type(error).__name__}"
            ) from None
    else:
        token = get_token() or ""
    if token and (not token.isascii() or not token.isprintable() or " " in token):
        raise ModelUnavailable("the Hub's token is not one line of printable characters")
    if not token and settings.endpoint is None:
        raise ModelUnavailable(
            "the Hub needs a token: set HF_TOKEN, or SENTQ_WORKER_HUB_TOKEN_FILE to a file with it"
        )
    return SecretStr(token) if token else None


def _slicer(worker: WorkerSettings, settings: HubSettings) -> Windower:
    """Cuts long texts as the local engine does, where the model's tokenizer can be had."""
    from sentq_worker.providers.hub.windows import window_by_chars, window_by_tokens

    by_chars = partial(window_by_chars, window_chars=settings.window_chars)
    folder = _tokenizer_folder(worker, settings)
    if folder is None:
        logger.warning(
            "the tokenizer of the Hub's model cannot be had: texts of more than %d characters "
            "are cut by characters, and outcomes count no tokens",
            settings.window_chars,
        )
        return by_chars
    from tokenizers import Tokenizer

    return window_by_tokens(
        Tokenizer.from_file(str(folder / "tokenizer.json")),
        window_tokens=min(_window_tokens(folder), worker.window_tokens or _WINDOW_TOKENS),
        overlap_tokens=worker.window_overlap_tokens,
        otherwise=by_chars,
    )


def _tokenizer_folder(worker: WorkerSettings, settings: HubSettings) -> Path | None:
    """Where tokenizer.json is: beside the local model's weights, or fetched from the Hub."""
    if worker.provider != "hub" or worker.model is not None:
        try:
            folder = find_model(worker.model, worker.revision).folder
        except ModelUnavailable:
            pass
        else:
            return folder if (folder / "tokenizer.json").is_file() else None
    if settings.model is None:
        return None
    from sentq_worker.inference.model_files import fetch_tokenizer

    return fetch_tokenizer(settings.model)


def _window_tokens(folder: Path) -> int:
    """The most tokens that the model reads at once, as its files say."""
    limits = [_WINDOW_TOKENS]
    for name, key in (
        ("tokenizer_config.json", "model_max_length"),
        ("config.json", "max_position_embeddings"),
    ):
        said = _read_json(folder / name).get(key)
        if isinstance(said, int) and said > 0:
            limits.append(said)
    return min(limits)


def _read_json(file: Path) -> dict[str, Any]:
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


class _LocalLabels:
    """What the local engine calls its labels: as it says itself, or its model's files do; None
    while neither can be had."""

    def __init__(self, settings: WorkerSettings, local: LocalProvider) -> None:
        self._settings = settings
        self._local = local
        self._names: tuple[str, ...] | None = None

    def __call__(self) -> tuple[str, ...] | None:
        if self._names is None and (own := self._own()):
            self._names = Labels(own, self._settings.labels).names
        return self._names

    def _own(self) -> tuple[str, ...] | None:
        if self._local.is_loaded:
            return self._local.info.labels
        try:
            folder = find_model(self._settings.model, self._settings.revision).folder
        except ModelUnavailable:
            return None
        by_id = _read_json(folder / "config.json").get("id2label")
        return tuple(by_id.values()) if isinstance(by_id, dict) else None


def _is_device_back(backend: str) -> bool:
    """Whether a new process may have the device that this one lost."""
    command = [sys.executable, "-c", _CHECK_DEVICE, backend.removeprefix("local:")]
    try:
        return (
            subprocess.run(command, check=False, capture_output=True, timeout=120).returncode == 0
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
