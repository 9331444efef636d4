"""sentq in Flask: an extension with a client for each process, and responses for its errors.

sentq = Sentq()


def create_app() -> Flask:
    app = Flask(__name__)
    app.config["SENTQ_BROKER_URL"] = "redis://…"
    sentq.init_app(app)
    app.register_error_handler(SentqError, problem_response)
    return app


@views.post("/score")
def score() -> dict[str, object]:
    job = sentq.client.submit(request.get_data(as_text=True))
    return job.result(timeout=10).model_dump(mode="json")
"""

from __future__ import annotations

from functools import partial
from typing import Final

from flask import Flask, Response, current_app

from sentq.client import Client
from sentq.contrib.problems import MEDIA_TYPE, log_problem, problem_of
from sentq.contrib.processes import PerProcess
from sentq.errors import SentqError
from sentq.settings import Settings

__all__ = ["Sentq", "problem_response"]

_NAME: Final = "sentq"


class Sentq:
    """The extension. One object serves any number of applications.

    Args:
        app: The application, if it exists already; else call `init_app`.

    Raises:
        SettingsError: As `init_app` does.
    """

    def __init__(self, app: Flask | None = None) -> None:
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Give an application a client.

        The settings are the values of `app.config` whose names begin with `SENTQ_`, and then those
        of the environment and the file. They are read now. The client is made when it is first
        used, in each process, also under `gunicorn --preload`.

        Raises:
            SettingsError: A setting is unknown or does not fit.
        """
        settings = Settings.load(**app.config.get_namespace("SENTQ_"))
        app.extensions[_NAME] = PerProcess(partial(Client, settings))

    @property
    def client(self) -> Client:
        """The client of the current application.

        Raises:
            RuntimeError: There is no application context, or `init_app` was not called.
        """
        try:
            clients: PerProcess[Client] = current_app.extensions[_NAME]
        except KeyError:
            raise RuntimeError(
                "there is no client of sentq: call init_app with this application"
            ) from None
        return clients.get()


def problem_response(error: SentqError) -> Response:
    """Answer a request that an error of sentq has ended with problem details (RFC 9457)."""
    problem = problem_of(error)
    log_problem(error, problem)
    return Response(
        problem.body, status=problem.status, headers=problem.headers, mimetype=MEDIA_TYPE
    )
