"""`sentq models`: roll another model on running workers.

May import what the other commands may.
"""

from sentq.cli.models.commands import app

__all__ = ["app"]
