"""What follows a job: the signatures in its message, which Celery publishes."""
