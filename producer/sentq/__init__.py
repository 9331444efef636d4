"""sentq: score the sentiment of text in the background. This package is the light client.

from sentq import Client

job = Client().submit("What a lovely day!")
print(job.result(timeout=10).outcomes[0].label)
"""

from typing import TYPE_CHECKING

from sentq.admin.dead import DeadLetters, RetryResult, Selection
from sentq.admin.status import QueueStatus, ServiceStatus
from sentq.batch import Batch
from sentq.client import Client
from sentq.contract import (
    TASK_NAME,
    ErrorCode,
    JobOutcome,
    JobStatus,
    Limits,
    Outcome,
    Prediction,
    TextError,
)
from sentq.errors import *  # noqa: F403 - all errors are public
from sentq.errors import __all__ as _errors
from sentq.job import Job
from sentq.results.backlog import Backlog
from sentq.results.batch import BatchProgress, CallbackState
from sentq.settings import Settings
from sentq.version import VERSION
from sentq.wire.dead_letters import DeadLetter, DeadLetterCode
from sentq.wire.reports import WorkerReport

if TYPE_CHECKING:
    from sentq.aio import AsyncBatch, AsyncClient, AsyncDeadLetters, AsyncJob

__version__ = VERSION

__all__ = [  # noqa: PLE0604 - names of the errors are added below
    "TASK_NAME",
    "AsyncBatch",
    "AsyncClient",
    "AsyncDeadLetters",
    "AsyncJob",
    "Backlog",
    "Batch",
    "BatchProgress",
    "CallbackState",
    "Client",
    "DeadLetter",
    "DeadLetterCode",
    "DeadLetters",
    "ErrorCode",
    "Job",
    "JobOutcome",
    "JobStatus",
    "Limits",
    "Outcome",
    "Prediction",
    "QueueStatus",
    "RetryResult",
    "Selection",
    "ServiceStatus",
    "Settings",
    "TextError",
    "WorkerReport",
    "__version__",
    *_errors,
]


def __getattr__(name: str) -> object:
    """Import the client for asyncio when it is first used."""
    if name in {"AsyncBatch", "AsyncClient", "AsyncDeadLetters", "AsyncJob"}:
        import sentq.aio

        return getattr(sentq.aio, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
