"""The documents of requests and responses. Outcomes are those of the contract."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from sentq.admin.hub_budget import HubBudget
from sentq.admin.status import QueueStatus, Scale
from sentq.contract import (
    MAX_CHARS_PER_TEXT,
    MAX_TEXTS_PER_JOB,
    MAX_TEXTS_WITH_DETAIL,
    MODEL_NAME,
    Detail,
    JobOutcome,
    JobStatus,
)
from sentq.webhooks.network.targets import MAX_URL_CHARS
from sentq.wire.agreement import Disagreement
from sentq.wire.reports import WorkerReport

__all__ = [
    "BatchDocument",
    "BatchJobs",
    "CallbackUrl",
    "JobBody",
    "JobDocument",
    "ProblemDocument",
    "ScoreBody",
    "StatusDocument",
    "WrongValue",
]

#: Longest deadline, in seconds: less than the client's limit of a year.
_LONGEST_DEADLINE_S: Final = 30 * 24 * 60 * 60

#: The limits of the contract are checked by the client, with errors of types of their own. The
#: document of OpenAPI has them too.
_Text = Annotated[str, Field(json_schema_extra={"maxLength": MAX_CHARS_PER_TEXT})]


#: Where a webhook is sent. What the operator allows is checked when it is read.
CallbackUrl: TypeAlias = Annotated[
    Annotated[str, Field(max_length=MAX_URL_CHARS)] | None,
    Field(
        description="Where a webhook is sent when all has ended; see docs/webhooks.md. The "
        "operator says which hosts are allowed.",
        examples=["https://hooks.example.com/scored"],
    ),
]


class _Body(BaseModel):
    """The body of a request. Unknown members are refused, not ignored."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True, strict=True)


class ScoreBody(_Body):
    """Texts to be scored.

    Attributes:
        texts: One text, or several. The outcomes have the same order.
        deadline_s: In how many seconds the outcome is of no use any more. A job that has not begun
            by then is not scored.
        local_only: Whether no text may leave the machines of the workers.
        detail: Which parts of the texts are scored on their own, too.
        model: The name of the model that scores the texts.
    """

    texts: Annotated[
        _Text
        | Annotated[
            list[_Text],
            Field(json_schema_extra={"minItems": 1, "maxItems": MAX_TEXTS_PER_JOB}),
        ],
        Field(
            description="One text, or several. The outcomes have the same order.",
            examples=[["What a lovely day!", "I want my money back."]],
        ),
    ]
    deadline_s: Annotated[
        float | None,
        Field(
            gt=0,
            le=_LONGEST_DEADLINE_S,
            description="In how many seconds the outcome is of no use any more. A job that has "
            "not begun by then is not scored.",
        ),
    ] = None
    local_only: Annotated[
        bool,
        Field(description="Whether the texts must not be sent to the Hugging Face Hub."),
    ] = False
    detail: Annotated[
        Detail | None,
        Field(
            description="Also score the sentences, paragraphs or windows of each text on their own "
            "(`parts` of its outcome), and tell whether it is `mixed`. Such a request has at most "
            f"{MAX_TEXTS_WITH_DETAIL} texts."
        ),
    ] = None
    model: Annotated[
        str | None,
        Field(
            pattern=MODEL_NAME,
            description="The name of the model that scores the texts, of those that the workers "
            "have. By default a worker chooses. If it has no such model, each text has the error "
            "`unknown_model`.",
            examples=["multilingual"],
        ),
    ] = None


class JobBody(ScoreBody):
    """A job to be accepted now and read later.

    Attributes:
        bulk: Whether it waits behind single jobs.
        delay_s: In how many seconds it is due.
        callback_url: Where a webhook is sent when it has ended.
        callback_outcomes: Whether the webhook has its outcomes.
    """

    bulk: Annotated[bool, Field(description="Whether the job waits behind single jobs.")] = False
    delay_s: Annotated[
        float | None,
        Field(
            ge=0,
            le=_LONGEST_DEADLINE_S,
            description="In how many seconds the job is due. It is not scored before.",
        ),
    ] = None
    callback_url: CallbackUrl = None
    callback_outcomes: Annotated[
        bool,
        Field(description="Whether the webhook has the outcomes, and not only their counts."),
    ] = False


class WrongValue(BaseModel):
    """A value of a request that is not valid.

    Attributes:
        where: A JSON pointer into the body, or the name of a parameter.
        what: What is wrong with it.
    """

    where: str
    what: str


class ProblemDocument(BaseModel):
    """A problem (RFC 9457). `type` says which; docs/problems.md and docs/gateway.md list all."""

    model_config = ConfigDict(extra="allow")

    type: Annotated[str, Field(examples=["urn:sentq:problem:queue-full"])]
    title: str
    status: int
    detail: str
    job_id: str | None = None
    batch_id: str | None = None
    job_status: JobStatus | None = None
    errors: list[WrongValue] | None = None
    line: int | None = None


class JobDocument(BaseModel):
    """A job.

    Attributes:
        id: Its id.
        status: Its status.
        due_at: When it is due, if it was sent for later and has not begun.
        outcome: Its outcome, if it is done.
        problem: Why it has none, if it has failed or was cancelled.
    """

    id: str
    status: JobStatus
    due_at: datetime | None = None
    outcome: JobOutcome | None = None
    problem: ProblemDocument | None = None

    def to_json(self) -> str:
        """Return the document, without members that say nothing about this job."""
        unused: dict[str, bool | set[str]] = {name: True for name, value in self if value is None}
        if self.problem is not None:
            unused["problem"] = {name for name, value in self.problem if value is None}
        return self.model_dump_json(exclude=unused)


class BatchJobs(BaseModel):
    """How many jobs of a batch there are, and how many have ended in which way.

    Attributes:
        total: How many were accepted.
        done: How many were scored.
        failed: How many failed as a whole, or expired.
        cancelled: How many were cancelled.
        remaining: How many have not ended.
    """

    total: int
    done: int
    failed: int
    cancelled: int
    remaining: int


class BatchDocument(BaseModel):
    """A batch.

    Attributes:
        id: Its id.
        texts: How many texts were accepted; None if the batch was not uploaded.
        jobs: The jobs into which the texts were cut.
        is_closed: Whether the upload has ended, so that `texts` is final.
        is_complete: Whether all jobs have ended, too.
    """

    id: str
    texts: int | None
    jobs: BatchJobs
    is_closed: bool
    is_complete: bool


class StatusDocument(Scale):
    """The status of the service, by the readings of Redis.

    Attributes:
        version: The version of the gateway.
        queues: The queue of single jobs and the bulk queue.
        workers: The reports of the live workers. For keys with the scope `admin`.
        dead_letters: How many dead letters there are. For keys with the scope `admin`.
        disagreements: In what workers of the same queue differ. For keys with the scope `admin`.
        hub_budget: The limits of the budget of calls to the Hub, and what was used of each. For
            keys with the scope `admin`.
    """

    version: str
    queues: tuple[QueueStatus, ...]
    workers: tuple[WorkerReport, ...] | None = None
    dead_letters: int | None = None
    disagreements: tuple[Disagreement, ...] | None = None
    hub_budget: tuple[HubBudget, ...] | None = None
