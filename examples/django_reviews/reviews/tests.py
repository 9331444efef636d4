"""Tests of the application. They need no Redis; with SENTQ_BROKER_URL they use that Redis and its
worker.

    $ python manage.py test
"""

import os
import time
from io import StringIO
from unittest import skipIf

from django.core.management import call_command
from django.db import transaction
from django.test import TestCase
from django.urls import reverse

from reviews.models import CustomerReview
from sentq.testing import Kit, inline

HAS_REDIS = "SENTQ_BROKER_URL" in os.environ


class SupplierFailed(Exception):
    """Something else in the transaction fails."""


class ReviewTest(TestCase):
    """Each test has a service of its own, or the real one."""

    kit: Kit

    def setUp(self) -> None:
        """Let the test kit take the place of Redis, unless there is one."""
        if not HAS_REDIS:
            self.kit = self.enterContext(inline())

    def test_a_text_is_scored_in_views_of_both_kinds(self) -> None:
        for path in ("/mood", "/mood-async"):
            response = self.client.post(path, "I love it.", content_type="text/plain")
            self.assertEqual(response.json()["label"], "positive")

    def test_a_review_is_scored_after_the_commit(self) -> None:
        # In a TestCase no transaction commits. This runs what waits for the commit.
        with self.captureOnCommitCallbacks(execute=True):
            response = self.client.post("/reviews", "I hate it.", content_type="text/plain")
        place = response.headers["Location"]
        deadline = time.monotonic() + 20
        while (label := self.client.get(place).json()["label"]) is None:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.05)
        self.assertEqual(label, "negative")
        self.assertEqual(CustomerReview.objects.get().label, "negative")

    def test_a_transaction_that_rolls_back_sends_nothing(self) -> None:
        with (
            self.captureOnCommitCallbacks(execute=True) as callbacks,
            self.assertRaises(SupplierFailed),
            transaction.atomic(),
        ):
            CustomerReview.add("I love it.")
            raise SupplierFailed
        self.assertEqual(callbacks, [])
        self.assertFalse(CustomerReview.objects.exists())
        if not HAS_REDIS:
            self.kit.assert_nothing_submitted()

    def test_reviews_of_last_year_are_scored_by_a_command(self) -> None:
        CustomerReview.objects.create(body="I love it.")
        CustomerReview.objects.create(body="It broke. I hate it.")
        arguments = ["reviews.CustomerReview", "--field", "body", "--save"]
        call_command(
            "sentq_score", *arguments, "label=label", "sentiment=sentiment", stderr=StringIO()
        )
        labels = CustomerReview.objects.order_by("pk").values_list("label", flat=True)
        self.assertEqual(list(labels), ["positive", "negative"])

    @skipIf(HAS_REDIS, "a real service fails when it likes")
    def test_without_redis_a_text_is_refused_with_a_problem(self) -> None:
        with self.kit.broker_down():
            response = self.client.post("/mood", "I love it.", content_type="text/plain")
        self.assertEqual(response.status_code, 503)
        self.assertEqual(response.json()["type"], "urn:sentq:problem:broker-unavailable")

    def test_an_unknown_review_is_not_found(self) -> None:
        self.assertEqual(self.client.get(reverse("review", args=[1])).status_code, 404)
