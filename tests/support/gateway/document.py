"""The OpenAPI document of the gateway, `docs/openapi.json`: `make docs` writes it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from sentq.gateway.app import make_gateway
from sentq.gateway.closing import Closing
from sentq.gateway.settings import GatewaySettings
from sentq.settings import Settings

__all__ = ["FILE", "document", "render"]

FILE: Final = Path(__file__).parents[3] / "docs" / "openapi.json"


def document() -> dict[str, Any]:
    """Return the document of a gateway with default settings."""
    return make_gateway(Settings(), GatewaySettings(), Closing()).openapi()


def render() -> str:
    """Return the file."""
    return json.dumps(document(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FILE.write_text(render(), encoding="utf-8")
