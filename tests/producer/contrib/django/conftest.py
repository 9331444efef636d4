"""A Django project in this process, with a database in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import django
import pytest
from django.test.utils import override_settings, setup_databases, teardown_databases

from tests.support.processes import RedisProcess

# Models can be imported only after this, so test modules can import them at their top. The variable
# must not stay: Celery would load the project in every program that other tests start.
with pytest.MonkeyPatch.context() as environment:
    environment.setenv("DJANGO_SETTINGS_MODULE", "tests.support.django_site.settings")
    django.setup()

#: Sets `SENTQ` for the rest of the test.
Configure = Callable[[object], None]


@pytest.fixture(scope="session")
def _databases() -> Iterator[None]:
    names = setup_databases(verbosity=0, interactive=False)
    yield
    teardown_databases(names, verbosity=0)


@pytest.fixture(autouse=True)
def _empty_tables(_databases: None) -> Iterator[None]:
    yield
    for model in django.apps.apps.get_models():
        for alias in ("default", "other"):
            model.objects.using(alias).all().delete()


@pytest.fixture
def configure() -> Iterator[Configure]:
    """Set `SENTQ`, and put it back at the end."""
    with ExitStack() as stack:
        yield lambda value: stack.enter_context(override_settings(SENTQ=value))


@pytest.fixture
def project(redis_server: RedisProcess, configure: Configure) -> RedisProcess:
    """The project's Redis, which no worker reads."""
    configure({"BROKER_URL": redis_server.url})
    return redis_server


@pytest.fixture
def scored_project(scored_redis: RedisProcess, configure: Configure) -> RedisProcess:
    """The project's Redis, whose jobs a worker scores, each text by its hash."""
    configure({"BROKER_URL": scored_redis.url})
    return scored_redis
