"""Roll a model on running workers: begin, promote, roll back, and how far the workers are.

models = client.models
models.roll("candidate", share=0.05)
models.status().stages()
models.promote()
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from pydantic import BaseModel, ConfigDict

from sentq.connection.broker import BrokerKeys, run_on_broker
from sentq.contract import MAIN_MODEL
from sentq.errors import InvalidInput
from sentq.rendering import printable
from sentq.wire.reports import WorkerReport, report_steps
from sentq.wire.roll.report import RollStage
from sentq.wire.roll.state import ROLL_KEY, RollState, parse_roll
from sentq.wire.steps import Steps

if TYPE_CHECKING:
    from celery import Celery

__all__ = ["DEFAULT_SHARE", "ModelRolls", "ModelsStatus"]

#: The share of jobs that a candidate gets if nothing else is said.
DEFAULT_SHARE: Final = 0.05

_Change = Callable[[RollState, Sequence[WorkerReport], float], RollState]


class ModelsStatus(BaseModel):
    """Which models serve, and how far the workers are.

    Attributes:
        state: What an operator has said last.
        workers: The reports of the live workers, by name.
    """

    model_config = ConfigDict(frozen=True)

    state: RollState
    workers: tuple[WorkerReport, ...]

    def stages(self) -> dict[str, RollStage | None]:
        """Return how far each worker is, by its name; None for one whose models cannot be rolled.

        One that has not read the present state yet counts as loading.
        """
        return {report.worker: self._stage(report) for report in self.workers}

    def _stage(self, report: WorkerReport) -> RollStage | None:
        if report.roll is None:
            return None
        return report.roll.stage if report.roll.id == self.state.id else RollStage.LOADING


class ModelRolls:
    """The roll of the workers of one broker. There is one at a time.

    Args:
        app: The app of the broker.

    Raises, from each method:
        BrokerUnavailable: Redis did not answer, or refused.
        SettingsError: The broker is not Redis.
    """

    def __init__(self, app: Celery) -> None:
        self._app = app

    def status(self) -> ModelsStatus:
        """Return which models serve, and how far the workers are."""
        state, reports = run_on_broker(self._app, _read_steps)
        return ModelsStatus(state=state, workers=tuple(reports))

    def roll(
        self, model: str, *, share: float = DEFAULT_SHARE, shadow: bool = False
    ) -> ModelsStatus:
        """Have workers load a model beside the one that serves, and score a share of jobs with it.

        Args:
            model: Its name in the settings of the workers: a table `[worker.models.NAME]` with
                `load = "on_roll"`.
            share: The share of jobs without a model of their own, above 0 and up to 1. Which jobs
                these are follows from their ids.
            shadow: The serving model answers these jobs, too; how often both agree is counted.

        Raises:
            InvalidInput: The share does not fit, the model serves already, or no live worker has
                such a model.
        """
        if not 0 < share <= 1:
            raise InvalidInput("the share of a candidate is above 0% and at most 100%")

        def begin(state: RollState, reports: Sequence[WorkerReport], now_s: float) -> RollState:
            if model == state.serving:
                raise InvalidInput(f"the model {printable(model)} serves already")
            _check_is_known(model, reports)
            return state.changed(now_s, candidate=model, share=share, is_shadow=shadow)

        return self._change(begin)

    def promote(self) -> ModelsStatus:
        """Let the candidate serve. Workers release the model that served.

        Raises:
            InvalidInput: There is no candidate.
        """

        def promote(state: RollState, _: object, now_s: float) -> RollState:
            if state.candidate is None:
                raise InvalidInput("no model is being rolled: sentq models roll NAME comes first")
            return state.changed(now_s, serving=state.candidate, previous=state.serving)

        return self._change(promote)

    def rollback(self) -> ModelsStatus:
        """Take the candidate away; without one, let the model serve again that served before.

        Raises:
            InvalidInput: There is nothing to roll back.
        """

        def roll_back(state: RollState, _: object, now_s: float) -> RollState:
            if state.candidate is not None:
                return state.changed(now_s)
            if state.previous == state.serving:
                raise InvalidInput(f"there is nothing to roll back: {state.serving} serves")
            return state.changed(now_s, serving=state.previous, previous=MAIN_MODEL)

        return self._change(roll_back)

    def _change(self, change: _Change) -> ModelsStatus:
        state, reports = run_on_broker(self._app, partial(_change_steps, change=change))
        return ModelsStatus(state=state, workers=tuple(reports))


def _read_steps(broker: BrokerKeys) -> Steps[tuple[RollState, list[WorkerReport]]]:
    raw = yield ("GET", broker.key(ROLL_KEY))
    reports = yield from report_steps(broker.prefix)
    try:
        return parse_roll(raw), reports
    except ValueError:
        raise InvalidInput(f"the key {ROLL_KEY} has no state that this version reads") from None


def _change_steps(
    broker: BrokerKeys, *, change: _Change
) -> Steps[tuple[RollState, list[WorkerReport]]]:
    state, reports = yield from _read_steps(broker)
    seconds, microseconds = yield ("TIME",)
    state = change(state, reports, float(seconds) + float(microseconds) / 1e6)
    yield ("SET", broker.key(ROLL_KEY), state.model_dump_json())
    return state, reports


def _check_is_known(model: str, reports: Sequence[WorkerReport]) -> None:
    """Refuse a model that no live worker can load, so that a typing error changes nothing."""
    known = {name: None for report in reports if report.roll for name in report.roll.names}
    if model not in known:
        others = f"; they have {', '.join(map(printable, known))}" if known else ""
        raise InvalidInput(
            f"no live worker has a table [worker.models.{printable(model)}] with "
            f'load = "on_roll"{others}'
        )
