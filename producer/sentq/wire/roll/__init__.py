"""A roll of a model: what an operator says in Redis, and what workers report of it."""
