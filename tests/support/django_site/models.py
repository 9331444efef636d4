"""Models with texts, and with fields for what becomes of them."""

from __future__ import annotations

import uuid
from typing import ClassVar

from django.db import models

__all__ = ["Comment", "Feedback"]


class Feedback(models.Model):
    """What a customer has written."""

    body = models.TextField()
    mood = models.CharField(max_length=20, blank=True, default="")
    polarity = models.FloatField(null=True)
    problem = models.CharField(max_length=40, null=True)
    stars = models.IntegerField(default=0)

    objects: ClassVar[models.Manager[Feedback]]


class Comment(models.Model):
    """A comment with a primary key that is not a number."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    body = models.CharField(max_length=200, null=True)

    objects: ClassVar[models.Manager[Comment]]
