"""A site with Redis, workers and a stock Celery client, and readers of what it produces:
events, published results, dead letters and Flower's pages."""
