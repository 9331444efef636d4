"""Sending jobs: checks of the queue limits, message templates, idempotency keys, publishing.

`sender` chooses between one script on Redis and Celery's own publishing. May import `results`,
`connection` and `wire`.
"""
