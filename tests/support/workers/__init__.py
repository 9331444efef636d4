"""Celery apps and workers that tests start: stand-in workers of sentq, and stock ones."""
