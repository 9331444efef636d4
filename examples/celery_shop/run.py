"""Send the shop's work, one function for each feature of Celery, and print what comes back.

README.md says what runs beside it.

    $ python run.py
    chain: kettle: positive, negative
    group: positive, negative, neutral, positive, negative
    thousand: 1000 texts in 10 jobs: {'positive': 400, 'negative': 400, 'neutral': 200}
    chord: {'positive': 2, 'negative': 2, 'neutral': 1}
    link: lamp: neutral, positive, negative
    link_error: called with the id of the failed job
    countdown: scored, and not before 1 s had passed
    revoke: REVOKED, not scored
    retry: lamp: neutral, positive, negative
    routes: kettle: positive, negative

Exit codes: 0 success, 1 (with a traceback) when a result does not come within 30 s.
"""

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from celery import chain, chord, group
from celery.exceptions import TaskRevokedError
from celery.result import AsyncResult, GroupResult

from shop import (
    REVIEWS,
    app,
    count,
    fetch,
    fetch_from_supplier,
    labels_of,
    ours,
    regret,
    score,
    store,
)

TEXTS = [text for texts in REVIEWS.values() for text in texts]
TEXTS_PER_JOB = 100
WAIT_S = 30


def wait_for(result: AsyncResult | GroupResult) -> Any:
    """Return what a task has returned. Redis announces that; Celery polls other backends."""
    return result.get(timeout=WAIT_S, interval=0.05)


def run_chain() -> str:
    """Fetch the reviews, score them, store the labels: a shop's task before sentq's and after."""
    work = chain(ours(fetch, "kettle"), score(), ours(store, "kettle"))
    return str(wait_for(work.apply_async()))


def run_group() -> str:
    """Score each text in its own job; sentq's worker scores the jobs as one batch."""
    results = wait_for(group(score([text]) for text in TEXTS).apply_async())
    return ", ".join(label for result in results for label in labels_of(result))


def run_thousand() -> str:
    """Score 1,000 texts, a hundred in each job: fewer messages, and the same outcomes."""
    texts = TEXTS * 200
    parts = [texts[start : start + TEXTS_PER_JOB] for start in range(0, len(texts), TEXTS_PER_JOB)]
    results = wait_for(group(score(part) for part in parts).apply_async())
    labels = Counter(label for result in results for label in labels_of(result))
    return f"{labels.total()} texts in {len(parts)} jobs: {dict(labels)}"


def run_chord() -> str:
    """Call a task of the shop once, with the results of all jobs."""
    jobs = [score([text]) for text in TEXTS]
    return str(wait_for(chord(jobs, ours(count)).apply_async()))


def run_link() -> str:
    """Call a task of the shop with the result of a job."""
    follows = ours(store, "lamp")
    score(REVIEWS["lamp"]).apply_async(link=follows)
    return str(wait_for(app.AsyncResult(follows.id)))


def run_link_error() -> str:
    """Call a task of the shop when a job fails as a whole: 256 texts are the limit."""
    follows = ours(regret)
    job = score(["Nice."] * 257).apply_async(link_error=follows)
    failed_id = wait_for(app.AsyncResult(follows.id))
    return f"called with the id of {'the failed job' if failed_id == job.id else 'another job'}"


def run_countdown() -> str:
    """Have a job scored a second from now."""
    sent_at_s = time.monotonic()
    wait_for(score(TEXTS).apply_async(countdown=1))
    passed = "had passed" if time.monotonic() - sent_at_s >= 1 else "had NOT passed"
    return f"scored, and not before 1 s {passed}"


def run_revoke() -> str:
    """Take a job back before it is scored."""
    job = score(TEXTS).apply_async(countdown=600)
    job.revoke()
    try:
        wait_for(job)
    except TaskRevokedError:
        return f"{job.status}, not scored"
    return f"{job.status}, scored"


def run_retry() -> str:
    """Score what a task returns that is tried again; the rest of the chain waits for it."""
    work = chain(ours(fetch_from_supplier, "lamp"), score(), ours(store, "lamp"))
    return str(wait_for(work.apply_async()))


def run_routes() -> str:
    """Name no queue: the settings of the shop's and of sentq's worker route all tasks."""
    work = chain(fetch.s("kettle"), app.signature("sentq.score"), store.s("kettle"))
    return str(wait_for(work.apply_async()))


FEATURES: list[Callable[[], str]] = [
    *(run_chain, run_group, run_thousand, run_chord, run_link, run_link_error, run_countdown),
    *(run_revoke, run_retry, run_routes),
]

if __name__ == "__main__":
    for feature in FEATURES:
        print(f"{feature.__name__.removeprefix('run_')}: {feature()}")
