"""sentq: score the sentiment of text in the background. This package is the light client.

from sentq import Client

job = Client().submit("What a lovely day!")
print(job.result(timeout=10).outcomes[0].label)
"""

from sentq.admin.dead import DeadLetters, RetryResult, Selection
from sentq.admin.status import QueueStatus, ServiceStatus
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
from sentq.settings import Settings
from sentq.version import VERSION
from sentq.wire.dead_letters import DeadLetter, DeadLetterCode
from sentq.wire.reports import WorkerReport

__version__ = VERSION

__all__ = [  # noqa: PLE0604 - names of the errors are added below
    "TASK_NAME",
    "Backlog",
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
