"""A roll: another model takes over from the one that serves, while the workers run.

    sentq.roll   string   which models serve, as JSON; missing while no model was ever rolled

An operator writes it, and workers read it with their reports. It names models as the settings of
workers do (`[worker.models.NAME]`), never files: what a worker loads is for its settings to say.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

from sentq.contract import MAIN_MODEL, MODEL_NAME

__all__ = ["ROLL_KEY", "RollState", "parse_roll"]

#: The key of the state.
ROLL_KEY: Final = "sentq.roll"

_ModelName = Annotated[str, Field(pattern=MODEL_NAME)]

_HASH_BYTES: Final = 8


class RollState(BaseModel):
    """Which models serve.

    Attributes:
        id: Tells this state from others; a command that is repeated makes another one.
        serving: The model of jobs that ask for none; `main` is `worker.model`.
        candidate: The model that is tried on some of these jobs; None without one.
        share: The share of these jobs that it scores.
        is_shadow: Whether the serving model scores these jobs too, and answers them.
        previous: The model that served before this one.
        changed_at_s: When it was written: Unix seconds by Redis' clock.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    id: str = ""
    serving: _ModelName = MAIN_MODEL
    candidate: _ModelName | None = None
    share: Annotated[float, Field(ge=0, le=1)] = 0.0
    is_shadow: bool = False
    previous: _ModelName = MAIN_MODEL
    changed_at_s: float = 0.0

    @property
    def models(self) -> tuple[str, ...]:
        """The models that it needs, the serving one first."""
        return (self.serving,) if self.candidate is None else (self.serving, self.candidate)

    def takes(self, job_id: str) -> bool:
        """Return whether the candidate scores a job that asks for no model.

        It is the same on each worker, and for each delivery of the job. A larger share has all
        jobs of a smaller one.
        """
        if self.candidate is None:
            return False
        hashed = hashlib.blake2b(f"{self.candidate} {job_id}".encode(), digest_size=_HASH_BYTES)
        return int.from_bytes(hashed.digest()) < self.share * 256**_HASH_BYTES

    def without_candidate(self) -> RollState:
        """Return the same state with the serving model alone."""
        return self.model_copy(update={"candidate": None, "share": 0.0, "is_shadow": False})

    def changed(self, now_s: float, **fields: object) -> RollState:
        """Return the next state, without a candidate unless it is given."""
        kept = {"serving": self.serving, "previous": self.previous}
        own = {"id": secrets.token_hex(8), "changed_at_s": now_s}
        return RollState.model_validate(kept | own | fields)


def parse_roll(raw: bytes | None) -> RollState:
    """Return the state in Redis; without one, the worker's own model serves.

    Raises:
        ValueError: It is not one of this version.
    """
    return RollState() if raw is None else RollState.model_validate_json(raw)
