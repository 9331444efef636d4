"""Connections: the Celery app that client and worker share, the broker's Redis, and its clock.

May import `wire` and the modules of the package root that import nothing else.
"""
