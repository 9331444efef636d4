"""Test doubles that users need too: a local Hub, with every fault that the real one may have.

May import no other package of the worker.
"""

from sentq_worker.testing.hub import LocalHub
from sentq_worker.testing.replies import FakeReply

__all__ = ["FakeReply", "LocalHub"]
