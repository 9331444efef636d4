"""One call to the Hub: what is sent, what may come back, and what each fault means.

    429                                          BUSY       again after Retry-After, or a delay
    408, 5xx, time-out, broken connection;       FAILED     again after a delay
      not JSON, cut off, too large, compressed
    scores that are no numbers                   NONFINITE  once more
    400, 413, 422                                TEXT       the text's own error
    402                                          UNPAID     none is asked for a configured time
    a redirect, any other status                 MISLED     none is asked until a probe succeeds
    401, 403, 404, 410; other labels;            WRONG      none is asked before a restart
      scores that do not sum to 1

Nothing that the Hub says is quoted anywhere: it may repeat the text, or the token.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum, auto
from typing import Any, Final

from huggingface_hub import AsyncInferenceClient, HfApi, set_async_client_factory
from huggingface_hub.errors import HfHubHTTPError, InferenceTimeoutError
from huggingface_hub.utils import httpx
from pydantic import SecretStr

from sentq_worker.providers.hub.http import (
    AnswerRefused,
    NotFinite,
    Redirected,
    make_client,
    quiet_libraries,
)
from sentq_worker.settings import Transform

__all__ = ["Fault", "HubClient", "HubFault", "Target"]

logger = logging.getLogger(__name__)

_TASK: Final = "text-classification"

#: How far the sum of a text's probabilities may be from 1: they come as rounded decimals.
_SUM_TOLERANCE: Final = 0.01

#: Asked of a model whose labels are not known yet; more than any has.
_ALL_LABELS: Final = 1_000


class Fault(Enum):
    """What kind of fault a call met."""

    BUSY = auto()
    FAILED = auto()
    NONFINITE = auto()
    TEXT = auto()
    PAYMENT_REQUIRED = auto()
    REDIRECTED = auto()
    REJECTED = auto()


_BY_STATUS: Final = {
    **dict.fromkeys((400, 413, 422), Fault.TEXT),
    **dict.fromkeys((401, 403, 404, 410), Fault.REJECTED),
    402: Fault.PAYMENT_REQUIRED,
    408: Fault.FAILED,
    429: Fault.BUSY,
}

_REASONS: Final = {
    401: "it refuses the token (401)",
    402: "its credits are used up (402)",
    403: "the token may not call this model (403)",
    404: "it has no such model (404)",
    410: "the model or the address is gone (410)",
    429: "it is asked too often (429)",
}


class HubFault(Exception):
    """A call brought no probabilities. Its message is ours alone."""

    def __init__(self, kind: Fault, reason: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(reason)
        self.kind = kind
        self.retry_after_s = retry_after_s

    @property
    def may_pass(self) -> bool:
        """Whether the same call may well succeed a little later."""
        return self.kind in (Fault.BUSY, Fault.FAILED, Fault.NONFINITE)


@dataclass(frozen=True, slots=True)
class Target:
    """Which model is called, where and as whom.

    `url` is what a text is posted to: the router's address of the model, or an endpoint of its
    own. It is given to the client whole, so that it does not ask the Hub before each call which
    task the model is for. `is_looked_up` asks that once, beforehand.
    """

    model: str
    url: str
    token: SecretStr | None = None
    bill_to: str | None = None
    function_to_apply: Transform | None = None
    is_multi_label: bool = False
    is_looked_up: bool = False


class HubClient:
    """Calls one model. Belongs to one event loop, and holds one pool of connections."""

    def __init__(self, target: Target, *, timeout_s: float) -> None:
        quiet_libraries()
        set_async_client_factory(make_client)
        self._target = target
        self._timeout_s = timeout_s
        self._client = AsyncInferenceClient(
            model=target.url,
            provider="hf-inference",
            token=target.token.get_secret_value() if target.token else None,
            timeout=timeout_s,
            bill_to=target.bill_to,
        )
        #: The model's labels, as its first answer says; None before.
        self.labels: tuple[str, ...] | None = None

    async def classify(self, text: str, *, timeout_s: float | None = None) -> list[float]:
        """The probabilities of a text, in the order of `labels`.

        Args:
            text: Goes out as it is.
            timeout_s: Where less time is left than every call has.

        Raises:
            HubFault: There are none.
        """
        limit_s = self._timeout_s if timeout_s is None else min(self._timeout_s, timeout_s)
        try:
            # Not the client's time-out alone: that is for each read, and a byte now and then
            # would keep it from ever passing.
            async with asyncio.timeout(limit_s):
                elements = await self._client.text_classification(
                    text,
                    top_k=len(self.labels) if self.labels else _ALL_LABELS,
                    function_to_apply=self._target.function_to_apply,
                )
        except Exception as error:  # noqa: BLE001 - the client lets through whatever an answer causes
            fault = _translated(error)
        else:
            return self._read(elements)
        # Not from the other: its message, or its answer, may quote the text.
        raise fault

    async def look_up(self) -> None:
        """Ask the Hub, once, which task the model is for. That it does not say is no fault: the
        calls go elsewhere.

        Raises:
            HubFault: The model is for another task.
        """
        if not self._target.is_looked_up:
            return
        token = self._target.token.get_secret_value() if self._target.token else None
        api = HfApi(token=token)
        try:
            info = await asyncio.to_thread(
                api.model_info, self._target.model, timeout=self._timeout_s
            )
        except Exception as error:  # noqa: BLE001 - whatever it is, the calls will tell
            kind = type(error).__name__
            logger.warning("the Hub does not say what its model is for (%s)", kind)
            return
        if info.pipeline_tag not in (None, _TASK):
            raise HubFault(Fault.REJECTED, f"its model is for {info.pipeline_tag}, not for {_TASK}")

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()  # type: ignore[no-untyped-call]

    def _read(self, elements: Any) -> list[float]:
        scores = _scores(elements)
        if self.labels is None:
            _check_sum(scores.values(), self._target)
            self.labels = tuple(sorted(scores))
        if set(scores) != set(self.labels):
            raise HubFault(Fault.REJECTED, "its labels are no longer the model's")
        row = [scores[label] for label in self.labels]
        _check_sum(row, self._target)
        return row


def _scores(elements: Any) -> dict[str, float]:
    """The scores by label; `AsyncInferenceClient` checks neither names nor types."""
    try:
        pairs = [(element.label, element.score) for element in elements]
        # JSON has no NaN: servers that keep to it write null.
        scores = {label: math.nan if score is None else float(score) for label, score in pairs}
    except (AttributeError, TypeError, ValueError):
        raise HubFault(Fault.FAILED, "its answer is not one of a classifier") from None
    is_sound = scores and len(scores) == len(pairs) and all(isinstance(n, str) for n in scores)
    if not is_sound:
        raise HubFault(Fault.FAILED, "its answer is not one of a classifier")
    return scores


def _check_sum(scores: Sequence[float] | Any, target: Target) -> None:
    if not all(map(math.isfinite, scores)):
        raise HubFault(Fault.NONFINITE, "its scores are not numbers")
    is_one_of_many = len(scores) > 1 and not target.is_multi_label
    if is_one_of_many and not math.isclose(sum(scores), 1.0, abs_tol=_SUM_TOLERANCE):
        raise HubFault(
            Fault.REJECTED,
            "its scores do not sum to 1: set SENTQ_WORKER_HUB_MULTI_LABEL=true "
            "where each label stands for itself",
        )


def _translated(error: Exception) -> HubFault:
    match error:
        case HfHubHTTPError():
            return _refusal(error)
        case NotFinite():
            return HubFault(Fault.NONFINITE, "its scores are not numbers")
        case Redirected():
            return HubFault(Fault.REDIRECTED, f"it redirects to another address ({error})")
    return HubFault(Fault.FAILED, _failure(error))


def _failure(error: Exception) -> str:
    match error:
        case InferenceTimeoutError() | TimeoutError() | httpx.TimeoutException():
            return "it did not answer in time"
        case AnswerRefused():
            return f"its answer was not read: {error}"
        case httpx.HTTPError() | OSError():
            return f"the connection to it failed ({type(error).__name__})"
    return "its answer cannot be read"


def _refusal(error: HfHubHTTPError) -> HubFault:
    response = error.response
    status = response.status_code
    kind = _BY_STATUS.get(status, Fault.FAILED if response.is_server_error else Fault.REDIRECTED)
    retry_after_s = _retry_after_s(response.headers.get("Retry-After"))
    if retry_after_s is None and kind is Fault.FAILED:
        retry_after_s = _estimated_s(response)
    reason = _REASONS.get(status, f"it answers {status}")
    return HubFault(kind, reason, retry_after_s=retry_after_s)


def _retry_after_s(header: str | None) -> float | None:
    """Seconds, or a date, as RFC 9110 has it."""
    if not header:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            until = parsedate_to_datetime(header)
        except ValueError:
            return None
        until = until if until.tzinfo else until.replace(tzinfo=UTC)
        seconds = (until - datetime.now(UTC)).total_seconds()
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _estimated_s(response: Any) -> float | None:
    """How long a model takes to load, where the Hub says so."""
    try:
        seconds = float(response.json()["estimated_time"])
    except Exception:  # noqa: BLE001 - it need not be JSON, nor hold it, nor have been read
        return None
    return max(0.0, seconds) if math.isfinite(seconds) else None
