"""Celery's hooks: bootsteps, consumer, task strategy, request, remote control, and shutdown.

The modules are named as those of `celery.worker` that they extend. They translate between Celery's
objects and `jobs`. May import `jobs`, `broker`, `engine` and the modules of the package root.
"""
