"""The report that a worker writes about itself, its name, and what other workers report."""
