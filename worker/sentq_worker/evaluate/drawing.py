"""SVG drawings for an HTML page, in the colours of its style sheet."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from markupsafe import Markup

__all__ = ["Drawing"]


class Drawing:
    """An SVG of `width` by `height` units that scales with the page.

    The style sheet of the page sets the colours by `class`, in light and dark mode.
    """

    def __init__(self, width: float, height: float, *, title: str) -> None:
        self._root = ET.Element(
            "svg", {"viewBox": f"0 0 {width:g} {height:g}", "role": "img", "aria-label": title}
        )
        self._root.set("style", f"max-width: {width:g}px")

    def line(self, start: tuple[float, float], end: tuple[float, float], style: str) -> None:
        """Draw a straight line between two points (x, y)."""
        places = zip(("x1", "y1", "x2", "y2"), (*start, *end), strict=True)
        self._add("line", style, **{name: _number(value) for name, value in places})

    def box(
        self,
        corner: tuple[float, float],
        size: tuple[float, float],
        style: str,
        *,
        opacity: float = 1.0,
        hint: str = "",
    ) -> None:
        """Draw a filled rectangle from its upper left corner; `hint` is its tooltip."""
        (x, y), (width, height) = corner, size
        box = self._add(
            "rect", style, x=_number(x), y=_number(y), width=_number(width),
            height=_number(height), fill_opacity=_number(opacity),
        )  # fmt: skip
        _hint(box, hint)

    def dot(
        self, centre: tuple[float, float], radius: float, style: str, *, hint: str = ""
    ) -> None:
        """Draw a filled circle."""
        x, y = centre
        _hint(self._add("circle", style, cx=_number(x), cy=_number(y), r=_number(radius)), hint)

    def path(self, points: list[tuple[float, float]], style: str) -> None:
        """Draw straight lines between the points."""
        places = " ".join(f"{_number(x)},{_number(y)}" for x, y in points)
        self._add("polyline", style, points=places)

    def text(self, place: tuple[float, float], words: str, style: str = "") -> None:
        """Draw text; the style sets its alignment to the place."""
        x, y = place
        self._add("text", style, x=_number(x), y=_number(y)).text = words

    def markup(self) -> Markup:
        """Return the drawing as escaped markup for a page."""
        return Markup(ET.tostring(self._root, encoding="unicode"))  # noqa: S704 - ElementTree escapes

    def _add(self, tag: str, style: str, **attributes: str) -> ET.Element:
        named = {name.replace("_", "-"): value for name, value in attributes.items()}
        return ET.SubElement(self._root, tag, {"class": style, **named})


def _hint(element: ET.Element, words: str) -> None:
    if words:
        ET.SubElement(element, "title").text = words


def _number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")
