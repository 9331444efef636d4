"""A Flask application that scores reviews: at once, or later if the caller does not want to wait.

    $ flask --app reviews_web run

README.md says what runs beside it.
"""

from flask import Blueprint, Flask, request, url_for
from flask.typing import ResponseReturnValue

from sentq import JobStatus, SentqError, TextError
from sentq.contrib.flask import Sentq, problem_response

sentq = Sentq()
views = Blueprint("reviews", __name__)


def create_app(**config: object) -> Flask:
    """Make the application; `config` overrides variables such as FLASK_SENTQ_MAX_QUEUED_JOBS."""
    app = Flask(__name__)
    app.config.from_prefixed_env()
    app.config.update(config)
    sentq.init_app(app)
    app.register_error_handler(SentqError, problem_response)
    app.register_blueprint(views)
    return app


@views.post("/mood")
def score_review() -> ResponseReturnValue:
    """Score the review in the request while the caller waits."""
    job = sentq.client.submit(request.get_data(as_text=True), deadline=10)
    (outcome,) = job.result(timeout=10).outcomes
    if isinstance(outcome, TextError):
        return {"error": outcome.message}, 422
    return {"label": outcome.label, "sentiment": outcome.sentiment}


@views.post("/reviews")
def accept_reviews() -> ResponseReturnValue:
    """Accept a JSON list of up to 256 reviews, and return at once."""
    job = sentq.client.submit(request.get_json())
    place = url_for("reviews.read_reviews", job_id=job.id)
    return {"job_id": job.id, "status": "queued"}, 202, {"Location": place}


@views.get("/reviews/<job_id>")
def read_reviews(job_id: str) -> ResponseReturnValue:
    """Return the outcome of reviews, or their status while they have none."""
    job = sentq.client.job(job_id)
    status = job.status()
    if status in {JobStatus.QUEUED, JobStatus.RUNNING}:
        return {"job_id": job_id, "status": status}, 202
    return job.result(timeout=1).model_dump(mode="json")
