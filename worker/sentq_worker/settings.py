"""The worker's own settings: `SENTQ_WORKER_*` over the table `[worker]` over defaults."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from sentq.settings import LayeredSettings

__all__ = ["WorkerSettings"]


class WorkerSettings(LayeredSettings):
    """Which model to hold, where, and how much work to take at once."""

    model_config = SettingsConfigDict(env_prefix="SENTQ_WORKER_")
    toml_table = "worker"

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
    round_limit_s: Annotated[float, Field(gt=0)] = 300.0
