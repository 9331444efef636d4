"""Texts to outcomes: check, detect languages, tokenise, batch, predict, join windows, name labels.

Pure computation, without torch, Celery or Redis. May import `engine` and `settings`.
"""
