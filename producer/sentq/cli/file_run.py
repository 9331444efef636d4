"""`sentq score … --out OUTPUT`: files through the workers, with their other columns, resumable."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from typing import Any, Final

import typer

from sentq.cli.common import Exit, notes, say
from sentq.cli.waiting import WaitNotices
from sentq.client import Client
from sentq.contract import Detail, JobOutcome, Outcome
from sentq.files.run.command import run_files
from sentq.files.run.options import RunRequest, split_detail
from sentq.files.run.scoring import ModelName, ScoredTexts, TextScoring
from sentq.settings import Settings

__all__ = ["QueueScoring", "score_files"]

#: How many outcomes are handed on together.
_OUTCOMES_PER_STEP: Final = 64


class QueueScoring:
    """Scores texts with workers, by jobs in the queue.

    Args:
        client: Sends the jobs.
        notices: Says what it waits for.
        timeout_s: Seconds to wait for each job at most; None waits until it ends.
        local_only: Whether the texts must stay on the workers' machines.
        detail: Which parts of the texts are scored, too.
        model: The name of the model that scores them; None lets workers choose.
    """

    def __init__(
        self,
        client: Client,
        notices: WaitNotices,
        *,
        timeout_s: float | None,
        local_only: bool,
        detail: Detail | None = None,
        model: str | None = None,
    ) -> None:
        self._client = client
        self._notices = notices
        self._timeout_s = timeout_s
        self._local_only = local_only
        self._detail: Detail | None = detail
        self._asked_model = model
        self._model: ModelName | None = None

    def score(self, texts: Iterable[object]) -> Iterator[ScoredTexts]:
        """See `TextScoring`. A job that fails as a whole ends in outcomes of its texts."""
        found: list[Outcome] = []
        model = self._model
        scored = self._client.map(
            self._noticed(texts),
            timeout=self._timeout_s,
            local_only=self._local_only,
            detail=self._detail,
            isolate=True,
            on_job=self._set_model,
            model=self._asked_model,
        )
        for outcome in scored:
            if len(found) >= _OUTCOMES_PER_STEP or (found and self._model != model):
                yield ScoredTexts(found, model)
                found = []
            model = self._model
            self._notices.add_outcome()
            found.append(outcome)
        if found:
            yield ScoredTexts(found, model)

    def _set_model(self, job: JobOutcome) -> None:
        self._model = ModelName(job.model, job.revision)

    def _noticed(self, texts: Iterable[object]) -> Iterator[Any]:
        for text in texts:
            self._notices.add_text()
            yield text


def score_files(
    request: RunRequest,
    settings: Settings,
    *,
    timeout_s: float | None,
    local_only: bool,
    model: str | None = None,
) -> None:
    """Run a request with the workers of the settings.

    Raises:
        typer.Exit: Some rows have an error, or Ctrl-C has ended the run.
    """
    with ExitStack() as stack:

        def open_scoring() -> TextScoring:
            client = stack.enter_context(Client(settings))
            waiting = stack.enter_context(WaitNotices(client.backlog, say))
            return QueueScoring(
                client,
                waiting,
                timeout_s=timeout_s,
                local_only=local_only,
                detail=split_detail(request.split),
                model=model,
            )

        tally = run_files(request, open_scoring, notes)
    if tally.failures:
        raise typer.Exit(Exit.SOME_FAILED)
