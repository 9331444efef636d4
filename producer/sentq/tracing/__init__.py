"""Traces of OpenTelemetry: the headers of messages, and the spans of clients.

Nothing of OpenTelemetry is imported here. May import `version`.
"""
