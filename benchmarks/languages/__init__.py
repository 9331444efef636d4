"""Detectors of languages beside each other, and what the worker's costs an engine."""
