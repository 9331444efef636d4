"""The public scorer: texts and columnar batches to outcomes, in this process.

from sentq_worker import Scorer

scorer = Scorer.load()
print(scorer.score(["What a lovely day!"])[0].label)
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal, Self, TypedDict, TypeVar, Unpack, overload

from sentq.contract import Detail, Outcome, check_detail
from sentq.files.outcomes import DEFAULT_PREFIX, OutcomeColumns
from sentq_worker.embedded.models import SharedModel, find_shared_model, shared_model
from sentq_worker.embedded.tables import TableType, add_outcomes, read_texts, table_types
from sentq_worker.engine.base import EngineInfo
from sentq_worker.settings import Cleaning, WorkerSettings

__all__ = ["Scorer", "ScorerOptions"]

Batch = TypeVar("Batch")

#: The settings of a worker that concern how a text is scored. The others stay where they are: a
#: copy of a scorer for another machine has no secret.
_SCORING: Final = frozenset(
    {
        *("model", "revision", "device", "dtype", "labels", "threads", "keep_trials"),
        *("batch_tokens", "window_tokens", "window_overlap_tokens", "window_join", "clean"),
        *("languages", "on_other_language", "min_language_confidence"),
    }
)


class ScorerOptions(TypedDict, total=False):
    """The options of a `Scorer`."""

    model: str | os.PathLike[str] | None
    revision: str | None
    device: str | None
    dtype: Literal["auto", "float32", "bfloat16", "float16"] | None
    threads: int | None
    labels: Mapping[str, str] | None
    clean: Cleaning | None
    detail: Detail | None
    config: str | os.PathLike[str] | None
    column: str
    prefix: str


class Scorer:
    """Scores texts and tables in this process, with a worker's engine and without a queue.

    A scorer is made at once; the model is loaded when the first text is scored, once in each
    process. So it can be pickled, sent to the processes of Ray, Spark, Dask or `multiprocessing`,
    and used there. Threads may share it.

    Args:
        model: A folder, or a model id on the Hub; the bundled model by default.
        revision: The branch, tag or commit of a model of the Hub. Name one where several machines
            fetch the model.
        device: `auto`, `cpu`, `mps`, `cuda` or `cuda:N`.
        dtype: `auto`, `float32`, `bfloat16` or `float16`.
        threads: Threads that compute on a CPU; None for torch's own choice. Say 1 where several
            processes share the cores.
        labels: Other names for labels of the model.
        clean: `html` and `markdown` leave out the markup of texts before they are scored; `none`
            does not.
        detail: Also score the sentences or the paragraphs of texts, as `parts` of their outcomes,
            and tell which texts are `mixed`. It takes about twice as long. With "windows", the
            parts are those in which the model reads a long text, and it takes no longer.
        config: A TOML file with settings of a worker.
        column: The column of a batch that has the texts.
        prefix: What the names of added columns begin with.

    What is not given comes from the settings of a worker: `SENTQ_WORKER_*`, then the file, then
    their defaults. They are read here, and not where a copy is used.

    Raises:
        SettingsError: An option or a setting is unknown or invalid.
    """

    def __init__(
        self,
        *,
        model: str | os.PathLike[str] | None = None,
        revision: str | None = None,
        device: str | None = None,
        dtype: Literal["auto", "float32", "bfloat16", "float16"] | None = None,
        threads: int | None = None,
        labels: Mapping[str, str] | None = None,
        clean: Cleaning | None = None,
        detail: Detail | None = None,
        config: str | os.PathLike[str] | None = None,
        column: str = "text",
        prefix: str = DEFAULT_PREFIX,
    ) -> None:
        settings = WorkerSettings.load(
            None if config is None else Path(config),
            model=None if model is None else os.fspath(model),
            revision=revision,
            device=device,
            dtype=dtype,
            threads=threads,
            labels=None if labels is None else dict(labels),
            clean=clean,
        )
        self._options: dict[str, Any] = settings.model_dump(include=set(_SCORING))
        self._options["model"] = _absolute(settings.model)
        check_detail(detail, 1)
        self._detail: Detail | None = detail
        self._column = column
        self._prefix = prefix
        self._model: SharedModel | None = None
        self._keeps_model = False

    @classmethod
    def load(cls, **options: Unpack[ScorerOptions]) -> Self:
        """Make a scorer and load its model now.

        Args:
            options: Those of the class.

        Raises:
            SettingsError: An option or a setting is unknown or invalid.
            EngineError: The model cannot be loaded, or the device is missing. The message says
                what to do.
        """
        scorer = cls(**options)
        scorer._loaded()
        return scorer

    @property
    def is_loaded(self) -> bool:
        """Whether the model is in the memory of this process."""
        return find_shared_model(self._options) is not None

    @property
    def info(self) -> EngineInfo:
        """The model, its revision, its own labels, and where it runs. Loads the model."""
        return self._loaded().info

    @property
    def column_types(self) -> dict[str, TableType]:
        """The columns that are added to a batch, in order, with their types: `string`, `double` or
        `boolean`.

        Spark, Arrow and pandas know the types by these names.
        """
        return table_types(self._columns)

    def score(self, texts: Iterable[object]) -> list[Outcome]:
        """Score texts. Loads the model, if this process has not done so.

        Args:
            texts: Any number of texts; one string counts as one text.

        Returns:
            A `Prediction` for each text, in order; for a text that cannot be scored a `TextError`
            with a `code`: no string (None, NaN, a number), empty, longer than 100,000 characters,
            a lone surrogate, or one on which the model fails. It affects no other text.

        Raises:
            EngineError: The model cannot be loaded, or the device failed.
        """
        found = [texts] if isinstance(texts, str) else list(texts)
        return self._loaded().score(found, detail=self._detail) if found else []

    @overload
    def __call__(self, batch: Iterator[Batch]) -> Iterator[Batch]: ...

    @overload
    def __call__(self, batch: Batch) -> Batch: ...

    def __call__(self, batch: Any) -> Any:
        """Score the texts of a batch of columns, or of each batch of an iterator.

        Args:
            batch: A dict of columns, a Table or RecordBatch of pyarrow, a DataFrame of pandas or
                polars; or an iterator of these, which is read as its outcomes are.

        Returns:
            A batch of the same kind, with the columns of `column_types` added. The others, the
            rows and their order stay as they are. `label`, `score` and `sentiment` have no value
            where `error` has a code and `message` says why. With `detail`, `mixed` and `parts` (as
            JSON) are added, too. A batch without rows loads no model.

        Raises:
            InvalidInput: It is no such batch, has no column of texts, or has a column with the
                name of one that would be added.
            EngineError: The model cannot be loaded, or the device failed.
        """
        if isinstance(batch, Iterator):
            return map(self, batch)
        outcomes = self.score(read_texts(batch, self._column, self._columns))
        return add_outcomes(batch, self._column, outcomes, self._columns)

    def __repr__(self) -> str:
        model = self._options["model"] or "bundled"
        return f"{type(self).__name__}(model={model!r}, column={self._column!r})"

    def __getstate__(self) -> dict[str, object]:
        """Return the options: the model does not travel."""
        return {
            "options": self._options,
            "detail": self._detail,
            "column": self._column,
            "prefix": self._prefix,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._options = state["options"]
        self._detail = state["detail"]
        self._column = state["column"]
        self._prefix = state["prefix"]
        self._model = None
        # A process that gets copies of a scorer gets one with each task.
        self._keeps_model = True

    @property
    def _columns(self) -> OutcomeColumns:
        return OutcomeColumns.default(self._prefix, detail=self._detail is not None)

    def _loaded(self) -> SharedModel:
        model = self._model
        if model is None or model.process_id != os.getpid():
            model = self._model = shared_model(self._options, keep=self._keeps_model)
        return model


def _absolute(model: str | None) -> str | None:
    """Return the folder of a model so that a process in another folder finds it."""
    if model is None:
        return None
    folder = Path(model).expanduser()
    return str(folder.resolve()) if folder.is_dir() else model
