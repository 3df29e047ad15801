"""Bars as SVG: a few lines, so that no plotting library is needed."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Final

LABEL, LENGTH, FIGURE, LINE, TOP = 360, 400, 90, 24, 40
"""Widths and heights in pixels: of the names, of the longest bar, of the figures, of one line, of the title."""
STYLE: Final = "font: 13px sans-serif; fill: #24292f"


def draw_bars(title: str, values: Mapping[str, float], figure: str, marked: str = "") -> str:
    """A bar for each value, in their order. figure: how a value is written; marked: whose bar has another color."""
    longest = max(values.values(), default=1) or 1
    width, height = LABEL + LENGTH + FIGURE, TOP + LINE * len(values) + 10
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        f'<text x="10" y="24" style="{STYLE}; font-weight: bold">{escape(title)}</text>',
    ]
    for number, (name, value) in enumerate(values.items()):
        top, length = TOP + LINE * number, max(1, round(value / longest * LENGTH))
        color = "#1f6feb" if name == marked or not marked else "#8c959f"
        lines += [
            f'<text x="{LABEL - 10}" y="{top + 16}" text-anchor="end" style="{STYLE}">{escape(name)}</text>',
            f'<rect x="{LABEL}" y="{top + 4}" width="{length}" height="{LINE - 8}" fill="{color}"/>',
            f'<text x="{LABEL + length + 6}" y="{top + 16}" style="{STYLE}">{escape(figure.format(value))}</text>',
        ]
    return "\n".join([*lines, "</svg>", ""])
