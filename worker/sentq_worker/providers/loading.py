"""From the settings to a scorer with its model loaded and warmed up."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Final

import platformdirs

from sentq.contract import MAIN_MODEL, Limits
from sentq_worker.engine.base import EngineError, ModelUnavailable
from sentq_worker.engine.provider import JobScorer
from sentq_worker.garbage import without_garbage_collection
from sentq_worker.inference.memory import free_memory_bytes, memory_limit_bytes, weights_bytes
from sentq_worker.inference.model_config import stated_languages
from sentq_worker.inference.model_files import find_model
from sentq_worker.providers.languages import (
    language_routes,
    language_rule,
    settings_of_model,
    settings_of_rolled,
)
from sentq_worker.scoring.labels import Labels
from sentq_worker.scoring.scorer import EngineScorer
from sentq_worker.scoring.tokenizer_cost import find_slow_input
from sentq_worker.scoring.windows import TextTokenizer
from sentq_worker.settings import WorkerSettings

__all__ = ["LoadScorer", "check_model_memory", "load_for_rolls", "load_others", "load_scorer"]

logger = logging.getLogger(__name__)

#: Makes the scorer of jobs from the worker's settings and the contract's limits.
LoadScorer = Callable[[WorkerSettings, Limits], JobScorer]

_CHOSEN_BY_AUTO: Final = " (chosen by auto)"


def load_others(
    load: LoadScorer, settings: WorkerSettings, limits: Limits
) -> dict[str, Callable[[], JobScorer]]:
    """Return, by its name, what loads each further model of a worker.

    Each raises an EngineError whose message begins with the table of the settings.
    """

    def load_named(name: str) -> JobScorer:
        try:
            return load(settings_of_model(settings, name), limits)
        except EngineError as error:
            raise type(error)(f"[worker.models.{name}] {error}") from error

    return {name: partial(load_named, name) for name in settings.models_at_start}


def load_for_rolls(
    load: LoadScorer, settings: WorkerSettings, limits: Limits
) -> dict[str, Callable[[Collection[str]], JobScorer]]:
    """Return, by its name, what loads each model that may serve, beside others of these names.

    There are none if no further model has `load = "on_roll"`. Each raises an EngineError, also if
    there is too little memory.
    """

    def load_beside(name: str, others: Collection[str]) -> JobScorer:
        own = settings_of_rolled(settings, name)
        check_model_memory(settings, [*others, name])
        free, needed = free_memory_bytes(), _weights_bytes(own)
        if settings.device in {"auto", "cpu"} and free is not None and needed > free:
            raise ModelUnavailable(
                f"its weights have {needed / 1e6:,.0f} MB, and {free / 1e6:,.0f} MB are free"
            )
        return load(own, limits)

    names = settings.rollable_models
    return {name: partial(load_beside, name) for name in (MAIN_MODEL, *names) if names}


def check_model_memory(settings: WorkerSettings, names: Collection[str]) -> None:
    """Check that the weights of models fit in memory together, before they are loaded.

    Args:
        settings: The worker's settings.
        names: The names of the models.

    Raises:
        ModelUnavailable: They do not, or a model is not found.
    """
    limit_bytes, name = settings.max_model_bytes, "SENTQ_WORKER_MAX_MODEL_BYTES"
    if limit_bytes is None and len(names) > 1 and settings.device in {"auto", "cpu"}:
        limit_bytes, name = memory_limit_bytes(), "the memory that this worker may use"
    if limit_bytes is None:
        return
    sizes = {model: _weights_bytes(settings_of_rolled(settings, model)) for model in names}
    if (total := sum(sizes.values())) > limit_bytes:
        each = ", ".join(f"{model} {size / 1e6:,.0f} MB" for model, size in sizes.items())
        raise ModelUnavailable(
            f"the weights of the models have {total / 1e6:,.0f} MB together ({each}), and {name} "
            f"is {limit_bytes / 1e6:,.0f} MB: raise SENTQ_WORKER_MAX_MODEL_BYTES if there is more, "
            "or remove a table of [worker.models]"
        )


def _weights_bytes(settings: WorkerSettings) -> int:
    return weights_bytes(find_model(settings.model, settings.revision).folder, settings.dtype)


def load_scorer(settings: WorkerSettings, limits: Limits) -> EngineScorer:
    """Find the model, load it, and run it once.

    Raises:
        EngineError: The model cannot be loaded. The message says what to do.
    """
    # torch takes seconds to import, so a worker that loads no model does not import it.
    with without_garbage_collection():
        from sentq_worker.inference.model import LocalEngine

        started = time.monotonic()
        files = find_model(settings.model, settings.revision)
        engine = LocalEngine(
            files,
            device=settings.device,
            dtype=settings.dtype,
            threads=settings.threads,
            trial_folder=platformdirs.user_cache_path("sentq") / "trials"
            if settings.keep_trials
            else None,
        )
    labels = _labels(engine.info.labels, settings.labels)
    languages = language_rule(
        settings, stated_languages(files.folder), routes=language_routes(settings)
    )
    tokenizer = TextTokenizer(
        engine.tokenizer,
        window_tokens=min(engine.window_tokens, settings.window_tokens or engine.window_tokens),
        overlap_tokens=settings.window_overlap_tokens,
        special_tokens=engine.special_tokens,
    )
    if settings.model is not None:
        _warn_of_slow_inputs(tokenizer)
    engine.warm_up()
    logger.info(
        "model %s (%.19s) on %s%s as %s%s, ready after %.1f s",
        engine.info.model,
        engine.info.revision,
        engine.info.backend,
        _CHOSEN_BY_AUTO if settings.device == "auto" else "",
        engine.info.dtype,
        _CHOSEN_BY_AUTO if settings.dtype == "auto" else "",
        time.monotonic() - started,
    )
    return EngineScorer(
        engine,
        tokenizer,
        limits=limits,
        batch_tokens=settings.batch_tokens,
        labels=labels,
        window_join=settings.window_join,
        clean=settings.clean,
        tokens_per_job=settings.tokens_per_job,
        prefetches=engine.has_idle_core,
        languages=languages,
    )


def _warn_of_slow_inputs(tokenizer: TextTokenizer) -> None:
    """Log if texts exist that cost this tokenizer far more than others. The bundled model's is
    tested for that."""
    if slow := find_slow_input(lambda text: tokenizer.tokenise([text])):
        logger.warning(
            "the model's tokenizer takes %.0f times as long as for prose for some texts (%s): a "
            "sender can keep this worker busy with one text. Lower SENTQ_CHARS_PER_TEXT, or use a "
            "model whose normaliser has no such pattern",
            slow.ratio,
            slow.name,
        )


def _labels(own: Sequence[str], renamed: Mapping[str, str]) -> Labels:
    try:
        return Labels(own, renamed)
    except ValueError as error:
        raise ModelUnavailable(f"SENTQ_WORKER_LABELS does not fit: {error}") from error
