"""One call to the Hub: the request, the possible responses, and the meaning of each fault.

    429                                          BUSY              retried after Retry-After or a
                                                                   delay
    408, 5xx, time-out, broken connection;       FAILED            retried after a delay
      not JSON, cut off, too large, compressed
    scores that are not finite numbers           NONFINITE         retried once
    400, 413, 422                                TEXT              an error of this text
    402                                          PAYMENT_REQUIRED  no calls for a configured time
    a redirect, any other status                 REDIRECTED        no calls until a probe succeeds
    401, 403, 404, 410; other labels;            REJECTED          no calls until a restart
      scores that do not sum to 1

No message quotes a response: it may repeat the text, or the token.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Collection, Iterable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum, auto
from typing import Final, Protocol

from huggingface_hub import AsyncInferenceClient, HfApi, set_async_client_factory
from huggingface_hub.errors import HfHubHTTPError, InferenceTimeoutError
from huggingface_hub.utils import httpx

from sentq_worker.providers.hub.http import (
    NonFiniteScores,
    Redirected,
    ResponseRejected,
    make_client,
    quiet_libraries,
)
from sentq_worker.providers.hub.target import Target

__all__ = ["Fault", "HubClient", "HubFault"]

logger = logging.getLogger(__name__)

_TASK: Final = "text-classification"

#: The sum of a text's probabilities may differ from 1 by so much: they are rounded decimals.
_SUM_TOLERANCE: Final = 0.01

#: How many labels are requested while the model's are not known: more than any model has.
_ALL_LABELS: Final = 1_000


class _Element(Protocol):
    """A label with its score, as the client returns them."""

    @property
    def label(self) -> str: ...

    @property
    def score(self) -> float | None: ...


class Fault(Enum):
    """The kinds of faults of a call."""

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
    401: "it rejects the token (401)",
    402: "its credits are used up (402)",
    403: "the token may not call this model (403)",
    404: "it has no such model (404)",
    410: "the model or the address is gone (410)",
    429: "it receives too many calls (429)",
}


class HubFault(Exception):
    """A call returned no probabilities. The message contains nothing of the response."""

    def __init__(self, kind: Fault, reason: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(reason)
        self.kind = kind
        self.retry_after_s = retry_after_s

    @property
    def is_transient(self) -> bool:
        """Whether the same call may succeed a little later."""
        return self.kind in (Fault.BUSY, Fault.FAILED, Fault.NONFINITE)


class HubClient:
    """Calls one model. It belongs to one event loop and has one pool of connections."""

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
        #: The model's labels, from its first response; None before.
        self.labels: tuple[str, ...] | None = None

    async def classify(self, text: str, *, timeout_s: float | None = None) -> list[float]:
        """Return the probabilities of a text, in the order of `labels`.

        Args:
            text: The text. It is sent unchanged.
            timeout_s: A limit for this call, if it is lower than that of all calls.

        Raises:
            HubFault: The call returned no probabilities.
        """
        limit_s = self._timeout_s if timeout_s is None else min(self._timeout_s, timeout_s)
        try:
            # The client's own time-out applies to each read: a byte now and then would keep it
            # from ever expiring.
            async with asyncio.timeout(limit_s):
                elements = await self._client.text_classification(
                    text,
                    top_k=len(self.labels) if self.labels else _ALL_LABELS,
                    function_to_apply=self._target.function_to_apply,
                )
        except Exception as error:  # noqa: BLE001 - a response may cause any error in the client
            fault = _translated(error)
        else:
            return self._probabilities(elements)
        # Not `from` the other error: its message, or its response, may quote the text.
        raise fault

    async def look_up(self) -> None:
        """Ask the Hub for the model's task, once.

        It is no fault if the Hub does not tell: the calls go to another address.

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
        except Exception as error:  # noqa: BLE001 - after any error the calls show whether the model works
            kind = type(error).__name__
            logger.warning("the Hub does not name the task of its model (%s)", kind)
            return
        if info.pipeline_tag not in (None, _TASK):
            raise HubFault(Fault.REJECTED, f"its model is for {info.pipeline_tag}, not for {_TASK}")

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()  # type: ignore[no-untyped-call]

    def _probabilities(self, elements: Iterable[_Element]) -> list[float]:
        scores = _scores(elements)
        if self.labels is None:
            _check_sum(scores.values(), self._target)
            self.labels = tuple(sorted(scores))
        if set(scores) != set(self.labels):
            raise HubFault(Fault.REJECTED, "its labels have changed")
        row = [scores[label] for label in self.labels]
        _check_sum(row, self._target)
        return row


def _scores(elements: Iterable[_Element]) -> dict[str, float]:
    """Return the scores by label. `AsyncInferenceClient` checks neither names nor types."""
    try:
        pairs = [(element.label, element.score) for element in elements]
        # JSON has no NaN: servers that follow the standard write null.
        scores = {label: math.nan if score is None else float(score) for label, score in pairs}
    except (AttributeError, TypeError, ValueError):
        raise HubFault(Fault.FAILED, "its response is not that of a classifier") from None
    is_valid = scores and len(scores) == len(pairs) and all(isinstance(n, str) for n in scores)
    if not is_valid:
        raise HubFault(Fault.FAILED, "its response is not that of a classifier")
    return scores


def _check_sum(scores: Collection[float], target: Target) -> None:
    if not all(map(math.isfinite, scores)):
        raise HubFault(Fault.NONFINITE, "its scores are not finite numbers")
    is_one_of_many = len(scores) > 1 and not target.is_multi_label
    if is_one_of_many and not math.isclose(sum(scores), 1.0, abs_tol=_SUM_TOLERANCE):
        raise HubFault(
            Fault.REJECTED,
            "its scores do not sum to 1: set SENTQ_WORKER_HUB_MULTI_LABEL=true "
            "if the labels are independent of each other",
        )


def _translated(error: Exception) -> HubFault:
    match error:
        case HfHubHTTPError():
            return _fault_of_status(error)
        case NonFiniteScores():
            return HubFault(Fault.NONFINITE, "its scores are not finite numbers")
        case Redirected():
            return HubFault(Fault.REDIRECTED, f"it redirects to another address ({error})")
    return HubFault(Fault.FAILED, _failure(error))


def _failure(error: Exception) -> str:
    match error:
        case InferenceTimeoutError() | TimeoutError() | httpx.TimeoutException():
            return "it did not respond in time"
        case ResponseRejected():
            return f"its response was not read: {error}"
        case httpx.HTTPError() | OSError():
            return f"the connection to it failed ({type(error).__name__})"
    return "its response cannot be read"


def _fault_of_status(error: HfHubHTTPError) -> HubFault:
    response = error.response
    status = response.status_code
    kind = _BY_STATUS.get(status, Fault.FAILED if response.is_server_error else Fault.REDIRECTED)
    retry_after_s = _retry_after_s(response.headers.get("Retry-After"))
    if retry_after_s is None and kind is Fault.FAILED:
        retry_after_s = _estimated_s(response)
    reason = _REASONS.get(status, f"it responds with {status}")
    return HubFault(kind, reason, retry_after_s=retry_after_s)


def _retry_after_s(header: str | None) -> float | None:
    """Return the seconds of a `Retry-After` header, which are a number or a date (RFC 9110)."""
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


def _estimated_s(response: httpx.Response) -> float | None:
    """Return how long the model takes to load, in seconds; None if the Hub does not tell."""
    try:
        seconds = float(response.json()["estimated_time"])
    except Exception:  # noqa: BLE001 - it may not be JSON, not contain the key, or not have been read
        return None
    return max(0.0, seconds) if math.isfinite(seconds) else None
