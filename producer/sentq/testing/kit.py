"""The test kit: a service of sentq in memory, and what a test may ask and tell it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from sentq.client import Client
from sentq.connection.stand_in import installed
from sentq.contract import Detail
from sentq.sending.idempotency import IdempotencyKeys
from sentq.settings import Settings
from sentq.testing.memory.server import MemoryServer
from sentq.testing.messages import PublishedTask, SubmittedJob, TaskMessage
from sentq.testing.scores import Scores
from sentq.testing.worker import MemoryWorker, failure_of
from sentq.wire.clock import CLOCK

if TYPE_CHECKING:
    from sentq.aio import AsyncClient

__all__ = ["Kit", "KitClock", "settings_of"]

#: An address that no machine has, for a client that is used after its kit has ended.
_NO_REDIS: Final = "redis://kit.sentq.invalid:6379/0"


class KitClock:
    """The clock of the kit, by which deadlines pass, outcomes expire and waits end. It runs as the
    real one does, and is set ahead by `advance`."""

    def __init__(self, server: MemoryServer) -> None:
        self._server = server

    @property
    def now_s(self) -> float:
        """The time, in Unix seconds."""
        return CLOCK.unix_s()

    def advance(self, seconds: float) -> None:
        """Let so many seconds pass at once. What is due then happens before it returns.

        Raises:
            ValueError: The number is negative.
        """
        if seconds < 0:
            raise ValueError("time does not run backwards")
        self._server.advance(seconds)


class Kit:
    """A service in memory: what takes the place of Redis, and a worker. It scores each job as it is
    submitted (`sentq.testing.inline`), or when the test says so (`sentq.testing.manual`).

    While it is active, it serves every `Client` and `AsyncClient` of the process, also those that
    were made before, and those whose settings name a Redis. Use it as a context manager, or call
    `start` and `stop`. Not more than one can be active.

    Args:
        scores: What texts score; None for all of them stands for the rule (`score_by_rule`).
        settings: The settings of the worker, and of the clients that the kit makes.
        is_running: Whether the worker scores jobs by itself.

    Attributes:
        clock: Lets time pass.
        settings: The settings.
        submitted: The jobs that were sent, the oldest first.
    """

    def __init__(self, scores: Scores | None, settings: Settings, *, is_running: bool) -> None:
        self.settings = settings
        self.submitted: list[SubmittedJob] = []
        self._ids: set[str] = set()
        self._server = MemoryServer(self._work, self._record)
        self._worker = MemoryWorker(self._server.database, settings, scores)
        self.clock = KitClock(self._server)
        self._is_running = is_running
        self._active = ExitStack()

    # --- Clients ------------------------------------------------------------------------------

    def client(self, **overrides: object) -> Client:
        """Return a new client.

        Args:
            overrides: Single settings, in place of those of the kit.

        Raises:
            SettingsError: A setting is unknown or does not fit.
        """
        return Client(self.settings, **overrides)

    def async_client(self, **overrides: object) -> AsyncClient:
        """Return a new client for asyncio; see `client`."""
        from sentq.aio import AsyncClient

        return AsyncClient(self.settings, **overrides)

    # --- What happens -------------------------------------------------------------------------

    @property
    def published(self) -> list[PublishedTask]:
        """The tasks that workers have published because a job has ended or a batch is complete, the
        oldest first. They are not run: `PublishedTask.run` does so."""
        return self._worker.published

    @property
    def scores(self) -> Scores | None:
        """What texts score; None for all of them stands for the rule. It may be replaced."""
        return self._worker.scores

    @scores.setter
    def scores(self, scores: Scores | None) -> None:
        self._worker.scores = scores

    def fail_next(self, code: object, *, jobs: int = 1) -> None:
        """Let the next jobs that are scored fail.

        Args:
            code: An `ErrorCode`: each text of a job ends in that `TextError`. Or the code of a
                `JobFailed`, such as "ScoringFailed": the job fails as a whole. A job that fails
                with "WorkerLost", "Undecryptable" or "LinkRefused" is a dead letter, too.
            jobs: How many jobs.

        Raises:
            ValueError: There is no such code; the message names all of them.
        """
        self._worker.failures.extend(failure_of(code) for _ in range(jobs))

    def drain(self, jobs: int | None = None) -> int:
        """Score the jobs that wait, those of the bulk queue last; return how many there were.

        Args:
            jobs: The most that are scored; None for all, also those that are sent meanwhile.

        Raises:
            Exception: What a function of the test raised, as scores. Its job has failed.
        """
        with self._server.lock:
            return self._worker.finish(float("inf") if jobs is None else jobs)

    def start_jobs(self, jobs: int | None = None) -> int:
        """Let the worker take jobs that wait, so that they are `running` until `drain`; return how
        many there were.

        Args:
            jobs: The most that are taken; None for all.
        """
        with self._server.lock:
            return self._worker.take(float("inf") if jobs is None else jobs)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Let jobs wait for the block, as `sentq.testing.manual` does. After it a kit that scores
        jobs by itself scores them."""
        with self._running(is_running=False):
            yield

    @contextmanager
    def running(self) -> Iterator[None]:
        """Score the jobs that wait, and each job as it is submitted, for the block, as
        `sentq.testing.inline` does."""
        with self._running(is_running=True):
            yield

    @contextmanager
    def broker_down(self) -> Iterator[None]:
        """Let Redis be unavailable for the block: calls raise `BrokerUnavailable` or
        `ResultsUnavailable`, at once."""
        with self._fault("broker_down"):
            yield

    @contextmanager
    def queue_full(self) -> Iterator[None]:
        """Let the queues be full for the block: new jobs are rejected with `QueueFull`."""
        with self._fault("queue_full"):
            yield

    @contextmanager
    def redis_full(self) -> Iterator[None]:
        """Let Redis be at its `maxmemory` for the block: new jobs are rejected with `RedisFull`."""
        with self._fault("redis_full"):
            yield

    @contextmanager
    def skip_waits(self) -> Iterator[None]:
        """Let time pass at once for the block, wherever a client waits for an outcome that is not
        there, or for capacity: a call with a time-out raises `WaitTimeout` without real time.

        A call that blocks does so anyway if the process has no other thread, because nothing can
        happen while it waits.
        """
        with self._fault("skip_waits"):
            yield

    # --- What was sent ------------------------------------------------------------------------

    def assert_submitted(
        self,
        texts: str | Sequence[str] | None = None,
        *,
        bulk: bool | None = None,
        deadline: float | None = None,
        local_only: bool | None = None,
        detail: Detail | None = None,
        key: str | None = None,
        jobs: int | None = None,
        model: str | None = None,
    ) -> list[SubmittedJob]:
        """Fail the test unless a job was submitted that has these properties.

        Args:
            texts: The texts of the job, as `submit` takes them. None stands for any, here and
                below.
            bulk: Whether it is in the bulk queue.
            deadline: Its deadline, in seconds after it was submitted.
            local_only: Whether it was submitted with `local_only`.
            detail: Which parts of its texts it asks for.
            key: Its idempotency key.
            jobs: How many such jobs there are; None for at least one.
            model: The name of the model that it asks for.

        Returns:
            These jobs, the oldest first.

        Raises:
            AssertionError: There is no such job, or another number of them. The message lists the
                jobs that were submitted.
        """
        found = [
            job
            for job in self.submitted
            if (texts is None or job.texts == ((texts,) if isinstance(texts, str) else (*texts,)))
            and (bulk is None or (job.queue == self.settings.bulk_queue) == bulk)
            and (deadline is None or job.deadline_s == round(deadline, 2))
            and (local_only is None or job.local_only == local_only)
            and (detail is None or job.detail == detail)
            and (key is None or job.id == self._id_of_key(key))
            and (model is None or job.model == model)
        ]
        if len(found) != jobs if jobs is not None else not found:
            wanted = "such a job" if jobs is None else f"{jobs} such jobs"
            listed = "".join(f"\n  {job}" for job in self.submitted) or " none"
            raise AssertionError(f"{len(found)} jobs match, not {wanted}. Submitted:{listed}")
        return found

    def assert_nothing_submitted(self) -> None:
        """Fail the test if a job was submitted.

        Raises:
            AssertionError: The message lists the jobs that were submitted.
        """
        if self.submitted:
            listed = "".join(f"\n  {job}" for job in self.submitted)
            raise AssertionError(f"{len(self.submitted)} jobs were submitted:{listed}")

    # --- Begin and end ------------------------------------------------------------------------

    def start(self) -> Self:
        """Serve every client of the process from now on.

        Raises:
            RuntimeError: A kit is active already.
        """
        with ExitStack() as stack:
            stack.enter_context(installed(self._server))
            stack.callback(CLOCK.reset)
            self._active = stack.pop_all()
        return self

    def stop(self) -> None:
        """Let clients use Redis again. The clock is that of the machine again."""
        self._active.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _work(self) -> None:
        """Do what the worker does by itself after each request. The server calls this."""
        self._worker.write_report()
        if self._is_running:
            self._worker.finish()

    @contextmanager
    def _running(self, *, is_running: bool) -> Iterator[None]:
        before, self._is_running = self._is_running, is_running
        try:
            with self._server.lock:
                self._work()
            yield
        finally:
            self._is_running = before
        with self._server.lock:
            self._work()

    def _record(self, queue_key: bytes, raw: bytes) -> None:
        """Record a message that was sent. The server calls this."""
        message = TaskMessage.read(raw, queue_key)
        if message.is_job and message.id not in self._ids:
            self._ids.add(message.id)
            self.submitted.append(SubmittedJob.from_message(message, self._worker.keyring))

    @contextmanager
    def _fault(self, name: str) -> Iterator[None]:
        faults = self._server.faults
        setattr(faults, name, getattr(faults, name) + 1)
        self._server.wake_all()
        try:
            yield
        finally:
            setattr(faults, name, getattr(faults, name) - 1)
            self._server.wake_all()

    def _id_of_key(self, key: str) -> str | None:
        keys = IdempotencyKeys(self.settings.key_namespace)
        record = self._server.database.get(keys.claim(key, (), local_only=False).name.encode())
        return None if record is None else record.decode().partition(" ")[0]


def settings_of(overrides: dict[str, object]) -> Settings:
    """Return the settings of a kit: those of file and environment, with overrides, and no Redis.

    Raises:
        SettingsError: A setting is unknown or does not fit.
    """
    return Settings.load_over(
        None, **{"broker_url": _NO_REDIS, "result_url": _NO_REDIS, **overrides}
    )
