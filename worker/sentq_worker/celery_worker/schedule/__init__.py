"""Jobs with an eta: they wait in Redis instead of in Celery's timer."""
