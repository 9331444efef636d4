"""Metrics and probes as a monitoring system reads them: over HTTP."""
