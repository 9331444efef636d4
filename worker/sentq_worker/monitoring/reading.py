"""The state of a worker at one moment, as its port shows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sentq.wire.roll.report import RollReport
from sentq_worker.engine.base import EngineInfo
from sentq_worker.engine.counts import EngineCounts

__all__ = ["EngineReading", "Vitals"]


@dataclass(frozen=True, slots=True)
class EngineReading:
    """What metrics show of the engine, and of the jobs in flight.

    Attributes:
        in_flight_jobs: Jobs that the worker has taken and not completed.
        busy_s: For how many seconds the engine has computed since the worker started.
        engine: The engine that scores; None while no model is loaded.
        breakers: The states of the circuit breakers, by what they protect.
        counts: What the engine has counted.
        models: The engines of all local models, by the names under which jobs ask for them.
        roll: What the worker does for a roll; None if no model can be rolled.
    """

    in_flight_jobs: int
    busy_s: float
    engine: EngineInfo | None
    breakers: Mapping[str, str] = field(default_factory=dict)
    counts: EngineCounts = field(default_factory=EngineCounts)
    models: Mapping[str, EngineInfo] = field(default_factory=dict)
    roll: RollReport | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Vitals:
    """What probes ask.

    Attributes:
        is_loading: Whether the model is still being loaded.
        is_ending: Whether the worker ends, and takes no more jobs.
        is_consuming: Whether it is connected, and its event loop takes jobs.
        loop_still_s: For how many seconds the event loop has stood still.
        loop_limit_s: How long it may, in seconds.
        engine_stalled_s: For how many seconds the engine has made no progress; 0 if it is idle.
        engine_limit_s: How long it may make none, in seconds.
        is_device_lost: Whether only a new process can use the device.
        redis_silent_s: For how many seconds Redis has not answered; None if it was not asked yet,
            or is not the broker.
    """

    is_loading: bool
    is_ending: bool
    is_consuming: bool
    loop_still_s: float
    loop_limit_s: float
    engine_stalled_s: float
    engine_limit_s: float
    is_device_lost: bool = False
    redis_silent_s: float | None = None
