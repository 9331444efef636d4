"""Spans that tests record: in this process, and of workers that are started with an SDK."""
