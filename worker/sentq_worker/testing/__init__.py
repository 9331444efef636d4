"""Stand-ins that users need too: a Hub of one's own, with every fault that a real one may have."""

from sentq_worker.testing.hub import LocalHub
from sentq_worker.testing.replies import FakeReply

__all__ = ["FakeReply", "LocalHub"]
