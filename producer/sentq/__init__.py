"""sentq: score the sentiment of text in the background. This package is the light client.

from sentq import Client

job = Client().submit("What a lovely day!")
print(job.result(timeout=10).outcomes[0].label)

A public name is imported as it is first used: `import sentq` takes some milliseconds, and a program
waits for Celery, Redis and pydantic only if it uses what needs them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Final

from sentq.errors import *  # noqa: F403 - all errors are public
from sentq.errors import __all__ as _errors
from sentq.version import VERSION

if TYPE_CHECKING:
    from sentq.admin.dead import DeadLetters, RetryResult, Selection
    from sentq.admin.status import QueueStatus, Scale, ServiceStatus
    from sentq.aio import AsyncBatch, AsyncClient, AsyncDeadLetters, AsyncJob
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
        TextPart,
    )
    from sentq.job import Job
    from sentq.results.backlog import Backlog
    from sentq.results.batch import BatchProgress, CallbackState
    from sentq.settings import Settings
    from sentq.wire.dead_letters import DeadLetter, DeadLetterCode
    from sentq.wire.reports import WorkerReport

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
    "Scale",
    "Selection",
    "ServiceStatus",
    "Settings",
    "TextError",
    "TextPart",
    "WorkerReport",
    "__version__",
    *_errors,
]

#: The modules of the names that are imported as they are first used.
_MODULES: Final = {
    "admin.dead": ("DeadLetters", "RetryResult", "Selection"),
    "admin.status": ("QueueStatus", "Scale", "ServiceStatus"),
    "aio": ("AsyncBatch", "AsyncClient", "AsyncDeadLetters", "AsyncJob"),
    "batch": ("Batch",),
    "client": ("Client",),
    "contract": (
        *("TASK_NAME", "ErrorCode", "JobOutcome", "JobStatus", "Limits", "Outcome", "Prediction"),
        *("TextError", "TextPart"),
    ),
    "job": ("Job",),
    "results.backlog": ("Backlog",),
    "results.batch": ("BatchProgress", "CallbackState"),
    "settings": ("Settings",),
    "wire.dead_letters": ("DeadLetter", "DeadLetterCode"),
    "wire.reports": ("WorkerReport",),
}
_MODULE_OF: Final = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> object:
    """Import a public name as it is first used."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found: object = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    globals()[name] = found  # From now on Python finds it without this function.
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
