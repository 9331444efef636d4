"""The header `Prefer` of RFC 7240: whether a request waits for the outcome, and for how long."""

from __future__ import annotations

import re
from typing import Annotated, Final, NamedTuple

from fastapi import Header

__all__ = ["PreferHeader", "Preference", "preference_of"]

#: `name=value`, `name="value"` or `name`; parameters after `;` are not used.
_PREFERENCE: Final = re.compile(r"\s*([A-Za-z0-9-]+)\s*(?:=\s*\"?([^\";]*)\"?)?\s*(?:;.*)?")

#: A number of seconds. RFC 7240 has whole ones.
_SECONDS: Final = re.compile(r"[0-9]{1,9}")

PreferHeader = Annotated[
    str | None,
    Header(
        alias="Prefer",
        max_length=200,
        description="`wait=N`: wait for the outcome for at most N seconds. `respond-async`: do "
        "not wait. Other preferences are ignored (RFC 7240).",
        examples=["wait=10"],
    ),
]


class Preference(NamedTuple):
    """What a request prefers.

    Attributes:
        wait_s: How long to wait for the outcome, in seconds; 0 not to wait.
        applied: The value of the header `Preference-Applied`; empty if nothing was asked for.
    """

    wait_s: float
    applied: str

    @property
    def headers(self) -> dict[str, str]:
        """The headers of the response."""
        return {"Preference-Applied": self.applied} if self.applied else {}


def preference_of(header: str | None, *, default_s: float, max_s: float) -> Preference:
    """Return what a header asks for.

    Args:
        header: Its value; None without it. What cannot be read is ignored, as RFC 7240 says.
        default_s: How long a request waits that does not say.
        max_s: The longest wait.
    """
    found: dict[str, str] = {}
    for part in (header or "").split(","):
        match = _PREFERENCE.fullmatch(part)
        if match is not None:
            # Of a preference that stands twice, the first one counts.
            found.setdefault(match[1].lower(), match[2] or "")
    if _SECONDS.fullmatch(found.get("wait", "")):
        wait_s = min(float(found["wait"]), max_s)
        return Preference(wait_s, f"wait={wait_s:.0f}")
    if "respond-async" in found:
        return Preference(0, "respond-async")
    return Preference(default_s, "")
