"""What a worker reports of a roll."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from sentq.contract import MAIN_MODEL

__all__ = ["RollReport", "RollStage"]


class RollStage(StrEnum):
    """How far a worker is with the state that it has read."""

    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"


class RollReport(BaseModel):
    """What a worker reports of a roll.

    Attributes:
        names: The models that can be rolled, by the names that its settings give them.
        id: The state that it follows; empty if it has read none.
        stage: How far it is.
        serving: The model that serves there.
        candidate: The candidate, if it is loaded.
        error: Why a model cannot be loaded.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    names: tuple[str, ...] = ()
    id: str = ""
    stage: RollStage = RollStage.READY
    serving: str = MAIN_MODEL
    candidate: str | None = None
    error: str | None = None
