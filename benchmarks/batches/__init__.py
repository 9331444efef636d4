"""What batches cost: `python -m benchmarks.batches`."""
