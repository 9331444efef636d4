"""Texts to outcomes: check, tokenise, batch by tokens, predict, join windows, name labels.

Pure computation, without torch, Celery or Redis. May import `engine` and `settings`.
"""
