"""The report that a worker writes about itself, its name, what other workers report, and what an
operator says of a roll."""
