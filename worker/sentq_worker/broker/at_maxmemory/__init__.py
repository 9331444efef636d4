"""What a worker writes while Redis is at its `maxmemory`, so that it starts, and ends jobs.

Kombu and Celery write in transactions (MULTI), and a full Redis refuses each command of one, also
those that read or remove. The clients here repeat such a step as a script where that is permitted.
"""
