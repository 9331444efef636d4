"""sentq in Django: `INSTALLED_APPS = ["sentq.contrib.django", …]` and the settings in `SENTQ`.

from sentq.contrib.django import submit_on_commit

submit_on_commit(review.body)

May import everything of the client, its commands too.
"""

from sentq.contrib.django.clients import get_async_client, get_client
from sentq.contrib.django.commits import submit_on_commit

__all__ = ["get_async_client", "get_client", "submit_on_commit"]
