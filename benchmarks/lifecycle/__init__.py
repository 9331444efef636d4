"""What a worker costs beside its work: while it starts, and while it has no jobs."""
