"""Batches of jobs, for tests."""
