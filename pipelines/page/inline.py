"""SVG figures inside a page: ids of their own, a name, and colours that a dark page turns into ones that are seen there."""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np
from markupsafe import Markup, escape

__all__ = ["dark_colours", "inline"]

PAPER, INK = np.array([22, 24, 27]), np.array([232, 232, 232])  # of the dark page, as page.css has them
SEEN = 4.0  # contrast with the dark paper that a line needs
COLOUR = re.compile(r"(?<=: )#([0-9a-f]{6})(?=[;\"])")  # in a style attribute as matplotlib writes it


def inline(svg: str, name: str, words: str) -> Markup:
    """An SVG element of matplotlib for a page. name: unlike that of any other in the page; words: what a screen reader says."""
    svg = re.sub(r'(\bid="|xlink:href="#|\bhref="#|url\(#)', rf"\g<1>{name}-", svg)
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.S)
    svg = re.sub(r' (width|height)="[\d.]+pt"', "", svg, count=2)
    svg = COLOUR.sub(r"var(--x\1, #\1)", svg)
    return Markup(svg.replace("<svg", f'<svg role="img" aria-label="{escape(words)}"', 1))


def dark_colours(figures: Iterable[str]) -> dict[str, str]:
    """Name of each colour variable in these figures -> the colour that it has on a dark page."""
    used = sorted({colour for figure in figures for colour in re.findall(r"var\(--x([0-9a-f]{6}),", figure)})
    return {f"--x{colour}": _on_dark(colour) for colour in used}


def _on_dark(colour: str) -> str:
    """Greys turn over, from paper to ink; other colours become lighter until they are seen."""
    rgb = np.array([int(colour[i : i + 2], 16) for i in (0, 2, 4)], dtype=float)
    if np.ptp(rgb) < 12:
        rgb = INK + (PAPER - INK) * rgb.mean() / 255
    else:
        while _luminance(rgb) + 0.05 < SEEN * (_luminance(PAPER) + 0.05):
            rgb = rgb + 0.1 * (255 - rgb)
    return "#" + "".join(f"{round(part):02x}" for part in rgb)


def _luminance(rgb: np.ndarray) -> float:
    """Relative luminance, as WCAG 2 defines it."""
    part = np.asarray(rgb) / 255
    linear = np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))
