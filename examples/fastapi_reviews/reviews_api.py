"""An API that scores reviews: at once, or later if the caller does not want to wait.

    $ uvicorn reviews_api:app

README.md says what runs beside it.
"""

from fastapi import FastAPI, HTTPException, Response
from pydantic import BaseModel

from sentq import JobOutcome, JobStatus, TextError
from sentq.contrib.fastapi import (
    PROBLEM_HANDLERS,
    PROBLEM_RESPONSES,
    PacedRequests,
    SentqClient,
    sentq_lifespan,
)

app = FastAPI(
    title="Reviews",
    lifespan=sentq_lifespan(),
    exception_handlers=PROBLEM_HANDLERS,
    responses=PROBLEM_RESPONSES,
)
app.add_middleware(PacedRequests)


class ReviewBody(BaseModel):
    """A review of a customer."""

    text: str


class Mood(BaseModel):
    """What a review says."""

    label: str
    sentiment: float | None


class Accepted(BaseModel):
    """Reviews that are scored later."""

    job_id: str
    status: JobStatus


@app.post("/mood")
async def score_review(review: ReviewBody, client: SentqClient) -> Mood:
    """Score a review while the caller waits."""
    job = await client.submit(review.text, deadline=10)
    (outcome,) = (await job.result(timeout=10)).outcomes
    if isinstance(outcome, TextError):
        raise HTTPException(422, outcome.message)
    return Mood(label=outcome.label, sentiment=outcome.sentiment)


@app.post("/reviews", status_code=202)
async def accept_reviews(reviews: list[str], client: SentqClient, response: Response) -> Accepted:
    """Accept up to 256 reviews, and return at once."""
    job = await client.submit(reviews)
    response.headers["Location"] = f"/reviews/{job.id}"
    return Accepted(job_id=job.id, status=JobStatus.QUEUED)


@app.get("/reviews/{job_id}")
async def read_reviews(
    job_id: str, client: SentqClient, response: Response
) -> JobOutcome | Accepted:
    """Return the outcome of reviews, or their status while they have none."""
    job = client.job(job_id)
    status = await job.status()
    if status in {JobStatus.QUEUED, JobStatus.RUNNING}:
        response.status_code = 202
        return Accepted(job_id=job_id, status=status)
    return await job.result(timeout=1)
