"""The search for the canary: plain, in another case, and in base64 at any alignment."""

from __future__ import annotations

import base64

from tests.corpus.expected import CANARY

__all__ = ["traces"]


def traces(output: str) -> list[str]:
    """Return the places of the canary in an output, each with its surroundings."""
    found = []
    for form in (CANARY, CANARY.upper(), CANARY.lower(), *_in_base64()):
        place = output.find(form)
        if place >= 0:
            found.append(output[max(0, place - 100) : place + 100])
    return found


def _in_base64() -> list[str]:
    """Return the base64 characters that depend on the canary's bytes alone, per alignment."""
    forms = []
    for before in range(3):
        whole = base64.b64encode(b"\0" * before + CANARY.encode()).decode()
        last = len(whole.rstrip("=")) - bool(whole.endswith("="))
        forms.append(whole[-(-before * 4 // 3) : last])
    return forms
