"""The commands `sentq webhooks`. Imports what the other commands do, and `sentq.webhooks`."""

from sentq.cli.webhooks.commands import app

__all__ = ["app"]
