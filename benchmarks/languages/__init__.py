"""Detectors of languages beside each other, what the worker's costs an engine, and a stream of ten
languages through a worker with two models."""
