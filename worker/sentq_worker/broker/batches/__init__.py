"""Batches of jobs, as a worker sees them: the places of jobs, and callbacks to be published."""
