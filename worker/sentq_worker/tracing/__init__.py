"""Spans of OpenTelemetry that a worker records, and the trace of the job that Celery finishes.

Does nothing as long as this process has not loaded `opentelemetry`. May import no other package of
the worker.
"""
