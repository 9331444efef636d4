"""The worker's own settings: `SENTQ_WORKER_*` over the table `[worker]` over defaults."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from sentq.settings import LayeredSettings

__all__ = ["HubSettings", "Policy", "WorkerSettings"]

#: Who answers: the engine of this process alone; the Hub while that one cannot; or the Hub alone.
Policy = Literal["local", "prefer-local", "hub"]

Count = Annotated[int, Field(ge=0)] | None
Seconds = Annotated[float, Field(gt=0)]


class WorkerSettings(LayeredSettings):
    """Which model to hold, where, and how much work to take at once."""

    model_config = SettingsConfigDict(env_prefix="SENTQ_WORKER_")
    toml_table = "worker"
    foreign_tables = frozenset({"hub"})
    foreign_prefix = "SENTQ_WORKER_HUB_"

    #: Texts leave the house only where this says so; how, is in the table `[worker.hub]`.
    engine: Policy = "local"
    #: Other policies for single queues, such as `{"sentq.bulk": "local"}`.
    queue_engines: dict[str, Policy] = Field(default_factory=dict)
    #: A local folder or a Hub id; the bundled model where it is not given.
    model: str | None = None
    #: The Hub revision: a branch, tag or commit. What it resolves to stands in every outcome.
    revision: str | None = None
    #: `auto` takes CUDA, then MPS, then the CPU.
    device: Annotated[str, Field(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")] = "auto"
    #: `auto` takes bfloat16 where that is clearly faster (AVX512-BF16, AMX, CUDA from Ampere on),
    #: else float32. bfloat16 moves scores by up to 0.01, and one label in 500.
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    #: Other names for the model's labels, such as `{"LABEL_0": "negative"}`.
    labels: dict[str, str] = Field(default_factory=dict)
    #: Threads of the CPU engine; torch's own choice (one a core) where it is not given.
    threads: Annotated[int, Field(ge=1)] | None = None
    #: Tokens of one forward pass, padding included.
    batch_tokens: Annotated[int, Field(ge=16)] = 2048
    #: Tokens that the model reads at once; as many as it can where it is not given. A longer
    #: text is read in windows that share `window_overlap_tokens` with their neighbours.
    window_tokens: Annotated[int, Field(ge=16)] | None = None
    window_overlap_tokens: Annotated[int, Field(ge=0)] = 64
    #: How the windows' probabilities become the text's: their mean weighted by tokens, those of
    #: the first window, or those of the window that is most certain.
    window_join: Literal["mean", "first", "max"] = "mean"
    #: With it, the predictions of texts that come again are taken from Redis. It is the key of the
    #: hash that stands there for a text, the same for all workers: 32 random characters.
    cache_secret: Annotated[SecretStr, Field(min_length=16)] | None = None
    #: Predictions kept at most, some 500 bytes each, and for how long. The oldest go first.
    cache_outcomes: Annotated[int, Field(ge=1)] = 100_000
    cache_ttl_s: Annotated[int, Field(ge=1)] = 24 * 60 * 60
    #: Jobs taken from the queue and not yet answered, at most.
    prefetch_jobs: Annotated[int, Field(ge=1)] = 64
    #: How long a worker that starts waits for Redis, in seconds.
    start_wait_s: Annotated[float, Field(ge=0)] = 60.0
    #: How long a worker goes on with the round in its engine after SIGTERM, in seconds.
    shutdown_grace_s: Annotated[float, Field(ge=0)] = 10.0
    #: How long one round may be in the engine, in seconds. It takes seconds at most; one that
    #: takes this long hangs, and the worker ends.
    batch_limit_s: Annotated[float, Field(gt=0)] = 300.0


class HubSettings(LayeredSettings):
    """How the Hub is asked: `SENTQ_WORKER_HUB_*` over the table `[worker.hub]` over defaults."""

    model_config = SettingsConfigDict(env_prefix="SENTQ_WORKER_HUB_")
    toml_table = "worker.hub"

    #: The model's id on the Hub; `SENTQ_WORKER_MODEL` where that is one and this is not given.
    model: str | None = None
    #: A dedicated endpoint's URL, asked instead of the router.
    endpoint: Annotated[str, Field(pattern=r"^https?://[^\s]+$")] | None = None
    #: Where models are asked for that have no endpoint of their own.
    router: Annotated[str, Field(pattern=r"^https?://[^\s]+$")] = (
        "https://router.huggingface.co/hf-inference"
    )
    #: A file with the token, which goes before the variable `HF_TOKEN`.
    token_file: Path | None = None
    #: The organisation that pays.
    bill_to: str | None = None
    #: Calls in flight at once.
    in_flight: Annotated[int, Field(ge=1, le=1024)] = 16
    #: How long one call may take, and one text with all its calls, in seconds.
    call_timeout_s: Seconds = 10.0
    total_timeout_s: Annotated[float, Field(gt=0, le=120)] = 60.0
    #: Calls for one text, at most, and the longest wait that the Hub may ask for in between.
    attempts: Annotated[int, Field(ge=1)] = 4
    retry_after_cap_s: Seconds = 30.0
    #: Other names for the labels of the Hub's model; it must have those of the local one.
    labels: dict[str, str] = Field(default_factory=dict)
    #: Whether each label stands for itself, so that a text's scores do not sum to 1.
    multi_label: bool = False
    #: What makes scores of the model's outputs; the model's own way where it is not given.
    function_to_apply: Literal["sigmoid", "softmax", "none"] | None = None
    #: Characters of a window where no tokenizer can be had that cuts long texts by tokens.
    window_chars: Annotated[int, Field(ge=64)] = 1000
    #: What may be spent, by UTC's days and months, of all workers together; None is no limit.
    calls_per_day: Count = None
    chars_per_day: Count = None
    calls_per_month: Count = None
    chars_per_month: Count = None
    #: What becomes of a text over the budget: it waits, or ends in `budget_exhausted`.
    on_budget: Literal["wait", "fail"] = "wait"
    #: How long the Hub is left alone after it said that credits are used up, in seconds.
    payment_pause_s: Seconds = 3600.0
    #: Failures in a row after which an engine, the Hub or the local one, is left alone, and how
    #: long until somebody tries whether it works again.
    breaker_failures: Annotated[int, Field(ge=1)] = 5
    probe_interval_s: Seconds = 10.0
    #: With `prefer-local`: jobs that have waited for longer than this go to the Hub although the
    #: local engine works.
    backlog_limit_s: Seconds | None = None
