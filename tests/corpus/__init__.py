"""Bad input, and what becomes of each piece of it.

`texts` holds texts, `jobs` what a job may wrongly be called with, `messages` what is no message or
no job, `headers` what may stand around a job, `first_protocol` Celery's first protocol. Each case
has a name and says how it ends. `generated` makes more. `trial` puts them to a worker.
"""
