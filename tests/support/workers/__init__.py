"""Celery apps and workers that tests start: stand-ins of ours, and stock ones."""
