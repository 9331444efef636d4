"""Looking for the canary: as it is, in another case, and in base64, however its bytes fall."""

from __future__ import annotations

import base64

from tests.corpus.cases import CANARY

__all__ = ["traces"]


def traces(seen: str) -> list[str]:
    """Where it stands in what was seen: each place, with what is around it."""
    found = []
    for form in (CANARY, CANARY.upper(), CANARY.lower(), *_in_base64()):
        place = seen.find(form)
        if place >= 0:
            found.append(seen[max(0, place - 100) : place + 100])
    return found


def _in_base64() -> list[str]:
    """The characters that only the canary's own bytes decide, for each of three alignments."""
    forms = []
    for before in range(3):
        whole = base64.b64encode(b"\0" * before + CANARY.encode()).decode()
        last = len(whole.rstrip("=")) - bool(whole.endswith("="))
        forms.append(whole[-(-before * 4 // 3) : last])
    return forms
