"""Reviews, and what sentq says about them."""

from typing import ClassVar

from django.db import models, transaction

from sentq import Job, Prediction
from sentq.contrib.django import submit_on_commit


class CustomerReview(models.Model):
    """A review of a customer. It has no label until it is scored."""

    body = models.TextField()
    job_id = models.CharField(max_length=40, blank=True)
    label = models.CharField(max_length=20, blank=True)
    sentiment = models.FloatField(null=True)

    objects: ClassVar[models.Manager["CustomerReview"]]

    @classmethod
    @transaction.atomic
    def add(cls, body: str) -> "CustomerReview":
        """Save a review, and have it scored once it is committed."""
        review: CustomerReview = cls.objects.create(body=body)
        submit_on_commit(body, on_submit=review.remember_job)
        return review

    def remember_job(self, job: Job) -> None:
        """Save the id of the job, so that any process can read its outcome."""
        type(self).objects.filter(pk=self.pk).update(job_id=job.id)

    def save_outcome(self, prediction: Prediction) -> None:
        """Save what sentq says."""
        self.label, self.sentiment = prediction.label, prediction.sentiment
        self.save(update_fields=["label", "sentiment"])
