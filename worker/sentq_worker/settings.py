"""The worker's own settings: `SENTQ_WORKER_*` over the table `[worker]` over defaults.

Each field's description stands in `docs/settings.md`, which is generated from these models.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from sentq.contract import MAIN_MODEL, MAX_BYTES_PER_MESSAGE, MODEL_NAME
from sentq.errors import SettingsError
from sentq.settings import LayeredSettings, Settings, explained, split_at_commas

__all__ = [
    "Cleaning",
    "Dtype",
    "HubSettings",
    "JoinRule",
    "ModelSettings",
    "OnOtherLanguage",
    "ProviderPolicy",
    "Transform",
    "WorkerSettings",
    "load_all",
]

#: Which provider scores a job: the local engine alone, the Hub while that is unavailable, or the
#: Hub alone.
ProviderPolicy = Literal["local", "prefer-local", "hub"]

#: How the probabilities of a text's windows become the text's.
JoinRule = Literal["mean", "extremes", "first", "max"]

#: The data type of a model's weights.
Dtype = Literal["auto", "float32", "bfloat16", "float16"]

#: What happens to a text in a language that the model does not read.
OnOtherLanguage = Literal["score", "flag", "refuse", "route"]

#: When a further model is loaded.
LoadModel = Literal["start", "on_roll"]

#: What is left out of a text before it is scored.
Cleaning = Literal["none", "html", "markdown"]

#: What the Hub applies to the outputs of its model.
Transform = Literal["sigmoid", "softmax", "none"]

#: Which commands of Celery's remote control a worker answers.
RemoteControl = Literal["full", "inspect", "off"]

_Count = Annotated[int, Field(ge=1)]
_Seconds = Annotated[float, Field(gt=0)]
_Tokens = Annotated[int, Field(ge=16)]
_LanguageCode = Annotated[str, Field(pattern=r"^[a-z]{2,3}$")]

#: The most models of a worker.
_MAX_MODELS: Final = 8

_URL = r"^https?://[^\s]+$"


class ModelSettings(BaseModel):
    """A further model of a worker: a table `[worker.models.NAME]`."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    model: Annotated[
        str,
        Field(min_length=1, description="The model: a local folder, or a model id on the Hub."),
    ]
    revision: Annotated[
        str | None,
        Field(
            description="The revision of a model on the Hub: a branch, tag or commit. If it is not "
            "set, the main branch is loaded."
        ),
    ] = None
    dtype: Annotated[
        Dtype | None,
        Field(description="The data type of its weights. If it is not set, `worker.dtype`."),
    ] = None
    labels: Annotated[
        dict[str, str],
        Field(
            description="Other names for its labels. Labels that are not named here keep their "
            "names. Its labels may differ from those of the main model."
        ),
    ] = Field(default_factory=dict)
    languages: Annotated[
        tuple[_LanguageCode, ...] | None,
        Field(
            description="The languages that it reads, as codes of ISO 639-1. If it is not set, "
            "those that its card names."
        ),
    ] = None
    batch_tokens: Annotated[
        _Tokens | None,
        Field(
            description="Most tokens of one forward pass, padding included. If it is not set, "
            "`worker.batch_tokens`."
        ),
    ] = None
    window_tokens: Annotated[
        int | None,
        Field(
            ge=16,
            description="Most tokens that it reads at once. If it is not set, its own limit "
            "applies.",
        ),
    ] = None
    window_overlap_tokens: Annotated[
        int | None,
        Field(
            ge=0,
            description="Tokens that a window shares with the window before it. If it is not set, "
            "`worker.window_overlap_tokens`.",
        ),
    ] = None
    window_join: Annotated[
        JoinRule | None,
        Field(
            description="How the probabilities of a text's windows become the text's. If it is not "
            "set, `worker.window_join`."
        ),
    ] = None
    load: Annotated[
        LoadModel,
        Field(
            description="When it is loaded: at the `start` of the worker, or `on_roll`, when "
            "`sentq models roll` names it. Only models with `on_roll` can be rolled, and no text "
            "is routed to them."
        ),
    ] = "start"

    @field_validator("languages", mode="before")
    @classmethod
    def _languages_are_separated_by_commas(cls, languages: object) -> object:
        return split_at_commas(languages)


class WorkerSettings(LayeredSettings):
    """Which model the worker loads, where it runs, and how much work it takes at once."""

    model_config = SettingsConfigDict(env_prefix="SENTQ_WORKER_")
    toml_table = "worker"
    foreign_tables = frozenset({"hub"})
    foreign_prefixes = ("SENTQ_WORKER_HUB_",)

    provider: Annotated[
        ProviderPolicy,
        Field(
            description="Which provider scores jobs. `local` is the model in the worker's own "
            "process. `prefer-local` falls back to the Hugging Face Hub while the local engine is "
            "unavailable. `hub` always uses the Hub. Texts are sent to a third party only with "
            "`prefer-local` or `hub`; the table `[worker.hub]` says how."
        ),
    ] = "local"
    queue_providers: Annotated[
        dict[str, ProviderPolicy],
        Field(
            description="Other provider policies for single queues, by the name of the queue, such "
            'as `{"sentq.bulk": "local"}`. Queues that are not named here follow `provider`.'
        ),
    ] = Field(default_factory=dict)
    model: Annotated[
        str | None,
        Field(
            description="The model: a local folder, or a model id on the Hub. If it is not set, "
            "the bundled model is loaded."
        ),
    ] = None
    revision: Annotated[
        str | None,
        Field(
            description="The revision of a model on the Hub: a branch, tag or commit. If it is not "
            "set, the main branch is loaded. Every outcome names the commit."
        ),
    ] = None
    device: Annotated[
        str,
        Field(
            pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$",
            description="The device of the model: `cpu`, `mps`, `cuda` or `cuda:N`. `auto` takes "
            "CUDA if it is available, then MPS, then the CPU.",
        ),
    ] = "auto"
    devices: Annotated[
        tuple[Annotated[str, Field(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")], ...] | None,
        NoDecode,
        Field(
            description="Start a process for each of these devices, such as `cuda:0,cuda:1`, under "
            "one parent. `cuda` is all CUDA devices; `auto` is all of them, or MPS, or the CPU if "
            "there are none. It replaces `device`."
        ),
    ] = None
    processes: Annotated[
        str,
        Field(
            pattern=r"^(auto|[1-9]\d{0,2})$",
            description="How many processes there are for each device, under one parent. On a CPU "
            "each has cores of its own and computes with as many threads. `auto` is one for each "
            "physical core that this process may use, at most 8, or one for each GPU of `devices`.",
        ),
    ] = "1"
    restart_limit: Annotated[
        int,
        Field(
            ge=0,
            description="With several processes: how often in a row one of them is started again "
            "after it ended within a minute. Then it is given up, which ends the others too if "
            "they have not been ready yet.",
        ),
    ] = 5
    dtype: Annotated[
        Dtype,
        Field(
            description="The data type of the model's weights. `auto` takes bfloat16 if that is "
            "clearly faster (AVX512-BF16, AMX, CUDA from Ampere on), and float32 otherwise. "
            "bfloat16 changes scores by up to 0.01, and one label in 500."
        ),
    ] = "auto"
    labels: Annotated[
        dict[str, str],
        Field(
            description="Other names for the model's labels, such as "
            '`{"LABEL_0": "negative"}`. Labels that are not named here keep their names.'
        ),
    ] = Field(default_factory=dict)
    threads: Annotated[
        int | None,
        Field(
            ge=1,
            description="Threads that compute the model on a CPU. If it is not set, torch decides: "
            "one for each core.",
        ),
    ] = None
    keep_trials: Annotated[
        bool,
        Field(
            description="Keep which way to run the model on a CPU is exact and fastest here, so "
            "that later starts need no trials: in `~/.cache/sentq/trials`, or below "
            "`XDG_CACHE_HOME`. A start with another processor, model, torch or version of sentq "
            "makes trials again. A folder that cannot be written is no error."
        ),
    ] = True
    batch_tokens: Annotated[
        _Tokens, Field(description="Most tokens of one forward pass, padding included.")
    ] = 2048
    tokens_per_job: Annotated[
        _Count,
        Field(
            description="Most tokens of the different texts of one job. A larger job fails with "
            "the error `TooManyTokens`. The default is one token for two bytes of the largest "
            "message, which prose does not exceed: with the bundled model 1 MiB of English has "
            "some 290,000 tokens, and 1 MiB of Chinese has 350,000."
        ),
    ] = 524_288
    window_tokens: Annotated[
        int | None,
        Field(
            ge=16,
            description="Most tokens that the model reads at once, special tokens included. A "
            "longer text is split into overlapping windows. If it is not set, the model's own "
            "limit applies.",
        ),
    ] = None
    window_overlap_tokens: Annotated[
        int,
        Field(ge=0, description="Tokens that a window shares with the window before it."),
    ] = 64
    window_join: Annotated[
        JoinRule,
        Field(
            description="How the probabilities of a text's windows become the text's: `mean` "
            "weights each window by its tokens, `extremes` also by the square of its sentiment, "
            "so that calm pages do not hide a strong one; `first` takes the first window, and "
            "`max` the window with the highest probability."
        ),
    ] = "mean"
    languages: Annotated[
        tuple[_LanguageCode, ...] | None,
        NoDecode,
        Field(
            description="The languages that the model reads, as codes of ISO 639-1 such as "
            "`en,fr`. If it is not set, those that the model's card names; the bundled one names "
            "`en`. If no languages are known, none are detected."
        ),
    ] = None
    on_other_language: Annotated[
        OnOtherLanguage,
        Field(
            description="What happens to a text in a language that the model does not read. `flag` "
            "scores it, and its outcome has `language_supported: false`. `refuse` gives it the "
            "error `unsupported_language`. `route` has the first of `worker.models` score it that "
            "reads its language; without such a model it is flagged. `score` scores all texts and "
            "detects no languages."
        ),
    ] = "flag"
    min_language_confidence: Annotated[
        float,
        Field(
            gt=0,
            le=1,
            description="How probable a language must be, so that a text counts as written in it. "
            "Below this, `language_supported` is null, and no text is refused. A smaller value "
            "finds more texts in other languages, and takes more short texts for one.",
        ),
    ] = 0.6
    clean: Annotated[
        Cleaning,
        Field(
            description="What is left out of texts before they are scored. `none` scores them as "
            "they were sent. `html` leaves out tags, comments, scripts and styles, and reads "
            "character references such as `&amp;`. Use it for texts that are HTML: in others it "
            "may take `<b ... >` for a tag. `markdown` does the same after it has left out the "
            "marks of Markdown, and blocks of code. Limits hold for the text as it was sent."
        ),
    ] = "none"
    models: Annotated[
        dict[Annotated[str, Field(pattern=MODEL_NAME)], ModelSettings],
        Field(
            max_length=_MAX_MODELS - 1,
            description="Further models, each in a table `[worker.models.NAME]` (below), in the "
            'order in which `on_other_language = "route"` looks for one that reads a language. '
            "Jobs ask for one by its name; `main` is the name of `worker.model`. They are loaded "
            "when the worker starts, unless `load` says otherwise. In the environment: JSON, such "
            'as `{"multilingual": {"model": "/models/multilingual"}}`.',
        ),
    ] = Field(default_factory=dict)
    max_model_bytes: Annotated[
        int | None,
        Field(
            ge=1,
            description="Most bytes of the weights of all models together, in memory. A worker "
            "whose models have more does not start. If it is not set, a worker with several models "
            "on a CPU takes the memory that it may use: that of its container, or of the machine.",
        ),
    ] = None
    require_encryption: Annotated[
        bool,
        Field(
            description="Refuse jobs whose texts are not encrypted, with `NotEncrypted`. Needs "
            "`encryption_keys`."
        ),
    ] = False
    encrypt_results: Annotated[
        bool,
        Field(
            description="Encrypt outcomes before they are stored. Clients need the keys to read "
            "them; a stock Celery client sees the encrypted form. Needs `encryption_keys`."
        ),
    ] = False
    follow_routes: Annotated[
        dict[str, Annotated[str, Field(min_length=1)]],
        Field(
            description="The queues of tasks that follow a job (links, the rest of a chain, the "
            "body of a chord) and name no queue, by the name of the task or a pattern with `*`, "
            'such as `{"shop.*": "shop"}`. The first pattern that fits holds. Others go into '
            "`celery`, the default queue of Celery: the settings of the sending application do not "
            "reach the worker."
        ),
    ] = Field(default_factory=dict)
    follow_queues: Annotated[
        tuple[str, ...] | None,
        NoDecode,
        Field(
            description="The queues into which the worker may publish what follows a job: links, "
            "error links, the rest of a chain, the body of a chord. A job with another one fails "
            "with `LinkRefused`. If it is not set, any queue that is no key of sentq, Celery or "
            "kombu; an empty list (`,` in the environment) allows none."
        ),
    ] = None
    follow_tasks: Annotated[
        tuple[str, ...] | None,
        NoDecode,
        Field(
            description="The names of the tasks that may follow a job. A job with another one "
            "fails with `LinkRefused`. If it is not set, any task; an empty list (`,` in the "
            "environment) allows none."
        ),
    ] = None
    cache_secret: Annotated[
        SecretStr | None,
        Field(
            min_length=16,
            description="Turns on the cache of predictions in Redis. Texts are stored as keyed "
            "hashes, and entries carry an HMAC; this is the key of both: at least 16 random "
            "characters, better 32, the same for all workers. Producers must not have it. If it "
            "is not set, nothing is cached.",
        ),
    ] = None
    cache_max_entries: Annotated[
        _Count,
        Field(
            description="Most predictions in the cache, some 500 bytes each. The oldest are "
            "removed first."
        ),
    ] = 100_000
    cache_ttl_s: Annotated[
        _Count, Field(description="How long a prediction stays in the cache, in seconds.")
    ] = 24 * 60 * 60
    prefetch_jobs: Annotated[
        _Count,
        Field(description="Most jobs that the worker has taken from the queues and not finished."),
    ] = 64
    maxmemory_margin: Annotated[
        float,
        Field(
            ge=0,
            le=10,
            description="How far outcomes may exceed the `maxmemory` of a full Redis, as a share "
            "of it. Outcomes that need no more memory than the messages of their jobs are stored "
            "in any case; others wait in the worker beyond this. Leave the memory to Redis.",
        ),
    ] = 0.25
    max_eta_s: Annotated[
        float,
        Field(
            ge=1,
            le=366 * 24 * 60 * 60,
            description="How far away the eta of a job may be (`eta`, `countdown`), in seconds. A "
            "job with a later one fails with the error `EtaTooFar`.",
        ),
    ] = 30 * 24 * 60 * 60
    max_scheduled_jobs: Annotated[
        _Count,
        Field(
            description="Most jobs that wait in Redis for their eta, of all workers together. A "
            "further one fails with the error `ScheduleFull`."
        ),
    ] = 100_000
    max_scheduled_bytes: Annotated[
        int,
        Field(
            ge=2 * MAX_BYTES_PER_MESSAGE,
            description="Most bytes of the messages of jobs that wait in Redis for their eta. A "
            "further one fails with the error `ScheduleFull`.",
        ),
    ] = 64 * 1024 * 1024
    yield_after_s: Annotated[
        _Seconds,
        Field(
            description="A batch of jobs that computes for longer lets jobs that were delivered "
            "meanwhile go first, in seconds. They wait for about twice as long, and for the "
            "running model batch. So a smaller value shortens the wait of small jobs beside "
            "large ones, and prolongs that of the large ones."
        ),
    ] = 1.0
    remote_control: Annotated[
        RemoteControl,
        Field(
            description="Which commands of Celery's remote control the worker answers. `full`: "
            "all, as every Celery worker. `inspect`: those that show something; it refuses to "
            "shut down, to change its pool, its queues and its limits, and to revoke jobs "
            "(`Job.cancel` still cancels them, within seconds), and it obeys no events of other "
            "workers. `off`: none, so `celery inspect` and Flower's pages about workers stay "
            "empty."
        ),
    ] = "full"
    start_wait_s: Annotated[
        float,
        Field(
            ge=0,
            description="How long a starting worker waits for Redis, in seconds. Then it exits "
            "with status 69.",
        ),
    ] = 60.0
    shutdown_grace_s: Annotated[
        float,
        Field(
            ge=0,
            description="How long a worker continues with the batch of jobs in its engine after "
            "SIGTERM, in seconds.",
        ),
    ] = 10.0
    #: A model batch takes seconds at most.
    batch_limit_s: Annotated[
        _Seconds,
        Field(
            description="How long the engine may compute without progress, in seconds. Progress is "
            "a finished model batch, a finished slice of texts that are tokenised, or a finished "
            "call of the Hub. An engine without progress hangs, and the worker exits with "
            "status 70."
        ),
    ] = 300.0
    name: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=200,
            pattern=r"^(?:[^\s%\x00-\x1f\x7f]|%[hndiI%])+$",
            description="The name of the worker, as Celery's option `-n`: `%h` is the host, `%n` "
            "its first part, `%d` its domain, such as `gpu0@%h`. If it is not set, the name has "
            "the process id: `celery-4711@host`. It must be unique.",
        ),
    ] = None
    require_same_model: Annotated[
        bool,
        Field(
            description="Refuse to start, with status 78, while an older worker of the same queues "
            "has another model, another revision of it, or other labels. Without it such a worker "
            "starts, and both log a warning."
        ),
    ] = False
    idle_poll_s: Annotated[
        float,
        Field(
            ge=0.05,
            le=5,
            description="How long a worker without jobs waits at most before it looks again for "
            "bulk jobs and jobs of lower priority, in seconds. Single jobs wake it at once. It "
            "waits for a tenth of the time without jobs, so it looks more often soon after one. "
            "A larger value sends fewer commands to Redis.",
        ),
    ] = 1.0
    loop_limit_s: Annotated[
        float,
        Field(
            ge=5,
            description="How long the worker's event loop may stand still, in seconds. Then the "
            "worker exits with status 70, and its jobs are delivered again. Time in which Redis "
            "does not answer is not counted.",
        ),
    ] = 30.0

    metrics_port: Annotated[
        int | None,
        Field(
            ge=0,
            le=65_535,
            description="The port on which the worker serves metrics for Prometheus (`/metrics`) "
            "and probes (`/livez`, `/readyz`). 0 chooses a free one, which the log names. If it is "
            "not set, the worker serves nothing.",
        ),
    ] = None
    metrics_host: Annotated[
        str,
        Field(
            min_length=1,
            description="The address on which that port is opened. There is no login: other "
            "machines should reach it only through a network of their own (`0.0.0.0`).",
        ),
    ] = "127.0.0.1"

    @property
    def policies(self) -> set[ProviderPolicy]:
        """The provider policies that apply to any queue."""
        return {self.provider, *self.queue_providers.values()}

    @property
    def models_at_start(self) -> dict[str, ModelSettings]:
        """The further models that are loaded when the worker starts."""
        return {name: each for name, each in self.models.items() if each.load == "start"}

    @property
    def rollable_models(self) -> tuple[str, ...]:
        """The names of the models that a roll may name."""
        return tuple(name for name, each in self.models.items() if each.load == "on_roll")

    @field_validator("models")
    @classmethod
    def _main_is_the_name_of_one_model(
        cls, models: dict[str, ModelSettings]
    ) -> dict[str, ModelSettings]:
        if MAIN_MODEL in models:
            raise ValueError(f"{MAIN_MODEL} is the name of worker.model: choose another name")
        return models

    @field_validator("processes", mode="before")
    @classmethod
    def _processes_may_be_a_number(cls, processes: object) -> object:
        return str(processes) if type(processes) is int else processes

    @field_validator("devices")
    @classmethod
    def _devices_fit_together(cls, devices: tuple[str, ...] | None) -> tuple[str, ...] | None:
        named = devices or ()
        for kind in ("auto", "cuda", "cpu", "mps"):
            if kind in named and any(each.partition(":")[0] != kind for each in named):
                raise ValueError(f"{kind} cannot stand beside other kinds of devices")
        if "cuda" in named and len(named) > 1:
            raise ValueError("cuda is all CUDA devices: leave the others out")
        if twice := sorted({each for each in named if named.count(each) > 1}):
            raise ValueError(
                f"{', '.join(twice)} is named twice; for two processes on a device set processes"
            )
        return devices

    @field_validator("devices", "follow_queues", "follow_tasks", "languages", mode="before")
    @classmethod
    def _names_are_separated_by_commas(cls, names: object) -> object:
        return split_at_commas(names)


class HubSettings(LayeredSettings):
    """How the Hub is called: `SENTQ_WORKER_HUB_*` over the table `[worker.hub]` over defaults."""

    model_config = SettingsConfigDict(env_prefix="SENTQ_WORKER_HUB_")
    toml_table = "worker.hub"

    model: Annotated[
        str | None,
        Field(
            description="The model's id on the Hub. If it is not set, `worker.model` is used, "
            "provided that it is a model id."
        ),
    ] = None
    endpoint: Annotated[
        str | None,
        Field(
            pattern=_URL,
            description="The URL of a dedicated endpoint. If it is set, it is called instead of "
            "the router.",
        ),
    ] = None
    router: Annotated[
        str,
        Field(
            pattern=_URL,
            description="The URL of the router, which serves models without an endpoint.",
        ),
    ] = "https://router.huggingface.co/hf-inference"
    token_file: Annotated[
        Path | None,
        Field(
            description="A file that contains the token. It takes precedence over the variable "
            "`HF_TOKEN`, which is used if it is not set."
        ),
    ] = None
    bill_to: Annotated[
        str | None,
        Field(
            description="The organisation that is billed for calls. If it is not set, the token's "
            "account is billed."
        ),
    ] = None
    in_flight: Annotated[
        int, Field(ge=1, le=1024, description="Most calls to the Hub in flight at once.")
    ] = 16
    call_timeout_s: Annotated[
        _Seconds, Field(description="How long one call may take, in seconds.")
    ] = 10.0
    total_timeout_s: Annotated[
        float,
        Field(
            gt=0, le=120, description="How long one text may take with all its calls, in seconds."
        ),
    ] = 60.0
    attempts: Annotated[_Count, Field(description="Most calls for one text.")] = 4
    retry_after_limit_s: Annotated[
        _Seconds,
        Field(
            description="The longest wait between two calls for a text that the Hub may ask for "
            "with `Retry-After`, in seconds."
        ),
    ] = 30.0
    labels: Annotated[
        dict[str, str],
        Field(
            description="Other names for the labels of the Hub's model, such as "
            '`{"LABEL_0": "negative"}`. With `prefer-local` both models must have the same labels.'
        ),
    ] = Field(default_factory=dict)
    multi_label: Annotated[
        bool,
        Field(
            description="Whether the labels are independent of each other, so that a text's scores "
            "do not sum to 1."
        ),
    ] = False
    function_to_apply: Annotated[
        Transform | None,
        Field(
            description="The function that turns the model's outputs into scores. If it is not "
            "set, the Hub applies the model's own."
        ),
    ] = None
    window_chars: Annotated[
        int,
        Field(
            ge=64,
            description="Characters of a window if the tokenizer of the Hub's model is not "
            "available, so that long texts cannot be split by tokens.",
        ),
    ] = 1000
    calls_per_day: Annotated[
        int | None,
        Field(
            ge=0,
            description="Most calls in a day (UTC) of all workers together. If it is not set, "
            "there is no limit.",
        ),
    ] = None
    chars_per_day: Annotated[
        int | None,
        Field(
            ge=0,
            description="Most characters that are sent in a day (UTC) by all workers together. If "
            "it is not set, there is no limit.",
        ),
    ] = None
    calls_per_month: Annotated[
        int | None,
        Field(
            ge=0,
            description="Most calls in a month (UTC) of all workers together. If it is not set, "
            "there is no limit.",
        ),
    ] = None
    chars_per_month: Annotated[
        int | None,
        Field(
            ge=0,
            description="Most characters that are sent in a month (UTC) by all workers together. "
            "If it is not set, there is no limit.",
        ),
    ] = None
    on_budget_exhausted: Annotated[
        Literal["wait", "fail"],
        Field(
            description="What happens to a text for which the budget does not suffice: `wait` "
            "keeps its job until the next day or month, or until the local engine is available; "
            "`fail` gives the text the error `budget_exhausted`."
        ),
    ] = "wait"
    payment_pause_s: Annotated[
        _Seconds,
        Field(
            description="How long the Hub is not called after it reported that its credits are "
            "used up, in seconds."
        ),
    ] = 3600.0
    breaker_failures: Annotated[
        _Count,
        Field(
            description="Consecutive failures after which a circuit breaker opens: that of the "
            "Hub, and with `prefer-local` that of the local engine."
        ),
    ] = 5
    probe_interval_s: Annotated[
        _Seconds,
        Field(description="How long an open circuit breaker waits before a probe, in seconds."),
    ] = 10.0
    backlog_limit_s: Annotated[
        float | None,
        Field(
            gt=0,
            description="With `prefer-local`: jobs that have waited for longer than this go to the "
            "Hub although the local engine works, in seconds. If it is not set, the backlog does "
            "not matter.",
        ),
    ] = None


def load_all(
    file: Path | None = None,
    *,
    shared: Mapping[str, object] | None = None,
    own: Mapping[str, object] | None = None,
) -> tuple[Settings, WorkerSettings, HubSettings]:
    """Read all settings of a worker.

    Args:
        file: The TOML file; None for the one that `SENTQ_CONFIG` names, if any.
        shared: Values of `Settings` that override file and environment; None counts as not given.
        own: The same of `WorkerSettings`.

    Raises:
        SettingsError: A setting is unknown or invalid. The message has everything that is wrong.
    """
    shared, own = shared or {}, own or {}
    problems = [
        *Settings.problems(file, **shared),
        *WorkerSettings.problems(file, **own),
        *HubSettings.problems(file),
    ]
    if problems:
        raise SettingsError(explained(problems))
    return Settings.load(file, **shared), WorkerSettings.load(file, **own), HubSettings.load(file)
