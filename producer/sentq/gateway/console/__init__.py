"""The console: pages at `/console` that show the service to people, and let them act on it.

May import `keys`, `batches`, `bodies`, `problems` and what is below them, and `routes.waiting`.
"""
