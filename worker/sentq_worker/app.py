"""The worker's Celery app, where everything is wired together."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from celery import Celery, Task, signals
from celery.utils.nodenames import gethostname
from celery.worker import state

from sentq.connection.app import make_app, own_backend
from sentq.contract import DEADLINE_HEADER, LOCAL_ONLY_HEADER, TASK_NAME
from sentq.errors import InvalidInput, ScoringFailed
from sentq.settings import Settings
from sentq_worker.broker import channel
from sentq_worker.broker.clock import WorkerClock
from sentq_worker.broker.heartbeat import HeartbeatWriter
from sentq_worker.broker.leases import Leases
from sentq_worker.broker.results import ResultStore
from sentq_worker.broker.revocations import RevocationPoller
from sentq_worker.celery_worker import control
from sentq_worker.celery_worker.bootsteps import DispatcherStep, EngineStep, leave
from sentq_worker.celery_worker.shutdown import Shutdown
from sentq_worker.celery_worker.watchdog import Watchdog
from sentq_worker.engine.base import EngineUnavailable
from sentq_worker.jobs.deadline import PASSED, check_deadline, has_passed
from sentq_worker.jobs.dispatcher import Dispatcher
from sentq_worker.jobs.executor import BatchExecutor
from sentq_worker.jobs.handback import JobResult, PreparedResults
from sentq_worker.jobs.in_flight import InFlightJob
from sentq_worker.jobs.pause import EngineBackoff
from sentq_worker.providers.cache import with_cache
from sentq_worker.providers.factory import make_provider, policies
from sentq_worker.providers.loading import LoadScorer, load_scorer
from sentq_worker.settings import HubSettings, WorkerSettings

__all__ = ["make_worker_app"]

#: How much text makes a round: some four characters a token, and some four batches.
_ROUND_CHARS_PER_TOKEN: Final = 16

#: How much is taken from Redis and not yet answered: some three rounds, as base64 of JSON. One is
#: in the engine, and more than the next would only be kept from workers that are idle.
_HELD_BYTES_PER_TOKEN: Final = 64

#: The same where only the Hub is asked: some three seconds of calls, and a small job's message.
_HELD_JOBS_PER_CALL: Final = 32
_HELD_BYTES_PER_JOB: Final = 2048


def make_worker_app(
    settings: Settings | None = None,
    worker_settings: WorkerSettings | None = None,
    hub_settings: HubSettings | None = None,
    *,
    load: LoadScorer = load_scorer,
) -> Celery:
    """Make the app that `celery worker` and `sentq-worker` run. Loads no model yet.

    Args:
        settings: What is shared with the client; None reads environment and file.
        worker_settings: The worker's own; None reads environment and file.
        hub_settings: How the Hub is asked; None reads environment and file.
        load: Makes what scores, when the worker starts.

    Raises:
        SettingsError: A setting is unknown or does not fit.
    """
    settings = settings or Settings.load()
    worker_settings = worker_settings or WorkerSettings.load()
    app = make_app(settings, set_as_current=True)
    hub_settings = hub_settings or HubSettings.load()
    prefetch_jobs, in_flight_bytes = worker_settings.prefetch_jobs, _HELD_BYTES_PER_TOKEN
    in_flight_bytes *= worker_settings.batch_tokens
    if policies(worker_settings) == {"hub"}:
        # A round ends with its slowest call, so only a long one keeps all calls in flight busy.
        prefetch_jobs = max(prefetch_jobs, _HELD_JOBS_PER_CALL * hub_settings.in_flight)
        in_flight_bytes = max(in_flight_bytes, prefetch_jobs * _HELD_BYTES_PER_JOB)
    of_ours = {
        "in_flight_bytes": in_flight_bytes,
        "lease_timeout_s": settings.visibility_timeout_s,
        "dead_letter_ttl_s": settings.dead_letter_ttl_s,
    }
    app.conf.update(
        broker_transport_options=app.conf.broker_transport_options | of_ours,
        worker_pool="solo",
        worker_consumer="sentq_worker.celery_worker.consumer:Consumer",
        worker_concurrency=1,
        worker_prefetch_multiplier=prefetch_jobs,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_enable_prefetch_count_reduction=False,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_track_started=True,
    )
    # Publishing into another queue, for what follows a job, must not make us read it.
    app.amqp.queues.select([settings.queue, settings.bulk_queue])
    app.steps["worker"].add(EngineStep)
    app.steps["consumer"].add(DispatcherStep)
    scorer = with_cache(load, app)
    clock = WorkerClock()
    provider = make_provider(
        worker_settings,
        hub_settings,
        limits=settings.limits,
        load=partial(scorer, worker_settings, settings.limits),
        app=app,
        now_ms=clock.now_ms,
    )
    service = BatchExecutor(worker_settings, settings.limits, provider)
    shutdown = Shutdown(grace_s=worker_settings.shutdown_grace_s)
    # Only in a process that runs a worker: Flower and `celery inspect` use this app too.
    signals.celeryd_init.connect(_install, weak=False, dispatch_uid="sentq_worker.install")
    signals.worker_shutdown.connect(
        lambda sender, **_: leave(service, shutdown, sender),
        weak=False,
        dispatch_uid="sentq_worker.leave",
    )
    store = ResultStore(app)
    dispatcher = Dispatcher(
        service,
        store,
        clock,
        hostname=gethostname(),
        batch_chars=_ROUND_CHARS_PER_TOKEN * worker_settings.batch_tokens,
    )
    backend = own_backend(app)
    leases = Leases(
        ResultStore(app, backend),
        HeartbeatWriter(dispatcher.snapshot),
        clock,
        RevocationPoller(app, backend),
    )
    watchdog = Watchdog(service.busy_s, limit_s=worker_settings.batch_limit_s)
    app.register_task(ScoreTask(service, dispatcher, shutdown, watchdog, leases))
    return app


def _install(**_: Any) -> None:
    channel.install()
    control.install()


class ScoreTask(Task):
    """`sentq.score`. Its body runs only for jobs that take Celery's own path, and on a transport
    without an event loop."""

    name = TASK_NAME
    typing = False
    #: What a sender did wrong is his to read; it is no fault of ours to log with a traceback.
    throws = (InvalidInput,)
    Strategy = "sentq_worker.celery_worker.strategy:batching"
    Request = "sentq_worker.celery_worker.request:ScoreRequest"

    def __init__(
        self,
        service: BatchExecutor,
        dispatcher: Dispatcher,
        shutdown: Shutdown,
        watchdog: Watchdog,
        leases: Leases,
    ) -> None:
        self.service = service
        self.dispatcher = dispatcher
        self.shutdown = shutdown
        self.watchdog = watchdog
        self.leases = leases
        self.prepared: PreparedResults = {}
        self._backoff = EngineBackoff()

    def run(self, *args: Any, **kwargs: Any) -> dict[str, object]:
        """Return the outcomes of a job that was scored; score it here, alone, where nobody did.

        Raises:
            InvalidInput: The job as a whole breaks the contract.
            ScoringFailed: The worker failed.
        """
        ending = self.prepared.pop(self.request.id, None) or self._score(args, kwargs)
        if isinstance(ending, Exception):
            raise ending
        return ending

    def _score(self, args: Any, kwargs: Any) -> JobResult:
        texts = self.service.texts(args, kwargs)
        headers = {name: self.request.get(name) for name in (DEADLINE_HEADER, LOCAL_ONLY_HEADER)}
        check_deadline(headers)
        job = InFlightJob(
            self.request.id, texts, headers, self.request.delivery_info or {}, None, 0
        )
        attempts = 1 + int(self.request.retries or 0)
        while not has_passed(headers, self.dispatcher.clock.now_ms()):
            try:
                ending = self._attempt(job, attempts)
            except EngineUnavailable as error:
                attempts += 1
                self._backoff.begin(error)
                self._backoff.sleep(state.maybe_shutdown)
            except Exception as error:  # noqa: BLE001 - its message might quote a text
                return ScoringFailed.from_error(error)
            else:
                self._backoff.end()
                return ending
        scored = self.service.without_engine([[PASSED] * len(texts)])
        return next(self.service.outcomes(scored, [(job.id, attempts)]))

    def _attempt(self, job: InFlightJob, attempts: int) -> JobResult:
        scored = self.service.submit([job]).result()
        ending = next(self.service.outcomes(scored, [(job.id, attempts)]))
        if isinstance(ending, EngineUnavailable):
            raise ending
        return ending
