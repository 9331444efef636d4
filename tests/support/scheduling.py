"""How pytest-xdist spreads tests over processes.

Its own mode `loadgroup` has no effect with pytest 9.2: it marks the groups in a field of tests that
is no longer read.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Final

from xdist.scheduler import LoadScopeScheduling

__all__ = ["FixtureScheduling"]

_SHARED: Final = re.compile(r"scope=\"(module|class|package)\"")


class FixtureScheduling(LoadScopeScheduling):
    """Run tests of a file that has fixtures of its own in one process, and all others anywhere.

    The fixtures are then set up once. The largest files come first.
    """

    def _split_scope(self, nodeid: str) -> str:
        file, _, _ = nodeid.partition("::")
        return file if _shares_fixtures(self.config.rootpath / file) else nodeid


@cache
def _shares_fixtures(file: Path) -> bool:
    return _SHARED.search(file.read_text(encoding="utf-8")) is not None
