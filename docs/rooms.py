"""Draw the rooms of the code and who imports whom, from the imports themselves: python docs/rooms.py writes docs/rooms.svg.

tests/test_architecture.py uses the same graph, and fails where the drawing is not that of the code.
"""

from __future__ import annotations

import ast
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("hae", "pipelines")
# From the lowest to the highest: a room imports from rooms before it, never from one behind. Files of a package's own folder that others
# build on are its ground, the others are its face.
ROOMS = (
    "hae (ground)", "hae.network", "hae.data", "hae.training", "hae.importance", "hae.export", "hae.sampling", "hae.figures", "hae (face)",
    "pipelines (ground)", "pipelines.record", "pipelines.page", "pipelines.stages", "pipelines.gate", "pipelines.project",
    "pipelines.flow", "pipelines (face)",
)  # fmt: skip
GROUND = {
    "hae": {"version", "errors", "files", "devices"},
    "pipelines": {"settings", "params", "processes"},
}
ROWS = (
    ("pipelines (face)",), ("pipelines.flow", "pipelines.project"), ("pipelines.gate",), ("pipelines.stages", "pipelines.record"),
    ("pipelines.page", "pipelines (ground)"), ("hae (face)",), ("hae.figures", "hae.sampling"), ("hae.importance", "hae.export"),
    ("hae.training",), ("hae.network", "hae.data"), ("hae (ground)",),
)  # fmt: skip


def modules(packages=PACKAGES) -> dict[str, Path]:
    """Dotted name -> file; a package goes by its name."""
    found = {}
    for package in packages:
        for file in sorted((ROOT / package).rglob("*.py")):
            parts = file.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


def imports(packages=PACKAGES) -> dict[str, set[str]]:
    """Module -> modules of ours that it imports anywhere: inside functions and under TYPE_CHECKING too."""
    known = modules(packages)
    return {name: _imported(name, file, known) - {name} for name, file in known.items()}


def _imported(name: str, file: Path, known: dict[str, Path]) -> set[str]:
    package = name.split(".") if file.name == "__init__.py" else name.split(".")[:-1]
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join([*(package[: len(package) - node.level + 1] if node.level else []), *filter(None, [node.module])])
            found |= {f"{base}.{alias.name}" if f"{base}.{alias.name}" in known else base for alias in node.names}
    return found & set(known)


def closure(start: str, graph: dict[str, set[str]]) -> set[str]:
    """All modules that running `start` may import, itself included."""
    seen, todo = set(), [start]
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            todo += graph[name]
    return seen


def room(module: str) -> str:
    """The room of a module: its folder, or the ground or the face of its package."""
    package, _, rest = module.partition(".")
    if (ROOT / package / rest.partition(".")[0]).is_dir() and rest:
        return f"{package}.{rest.partition('.')[0]}"
    return f"{package} ({'ground' if rest in GROUND.get(package, ()) else 'face'})"


def arrows(graph: dict[str, set[str]]) -> dict[str, set[str]]:
    """Room -> rooms it imports from."""
    found: dict[str, set[str]] = {}
    for name, others in graph.items():
        found.setdefault(room(name), set()).update(room(other) for other in others if room(other) != room(name))
    return found


def _reduced(found: dict[str, set[str]]) -> list[tuple[str, str]]:
    """The arrows less those that others imply, so that the drawing can be read."""

    return sorted((a, b) for a, others in found.items() for b in others if not any(b in closure(c, found) for c in others - {b}))


def svg() -> str:
    """The drawing."""
    known, found = modules(), arrows(imports())
    inside: dict[str, list[str]] = {}
    for name, file in known.items():
        if file.name != "__init__.py":
            inside.setdefault(room(name), []).append(name.rpartition(".")[2])
    rows = [[name for name in row if name in inside] for row in ROWS]
    rows = [row for row in rows if row]
    width, box, gap, line, chars = 960, 430, 40, 17, 58
    places: dict[str, tuple[float, float, float]] = {}
    texts, y = [], 20.0
    for row in rows:
        tallest = 0.0
        for i, name in enumerate(row):
            x = (width - len(row) * box - (len(row) - 1) * gap) / 2 + i * (box + gap)
            lines = _wrapped(sorted(inside[name]), chars)
            height = 34 + line * len(lines)
            places[name] = (x, y, height)
            texts.append(_box(name, lines, x, y, box, height, line))
            tallest = max(tallest, height)
        y += tallest + 46
    lines = [_arrow(places[a], places[b], box) for a, b in _reduced(found) if a in places and b in places]
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {y - 20:.0f}" font-family="sans-serif" role="img" '
        'aria-label="The rooms of hae and pipelines, and who imports whom">',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0 8 4 0 8z" fill="#666"/></marker></defs>',
        f'<rect width="{width}" height="{y - 20:.0f}" fill="#fff"/>',
        *lines, *texts, "</svg>", "",
    ])  # fmt: skip


def _wrapped(names: list[str], chars: int) -> list[str]:
    lines = [""]
    for name in names:
        if len(lines[-1]) + len(name) + 2 > chars and lines[-1]:
            lines.append("")
        lines[-1] += (", " if lines[-1] else "") + name
    return lines


def _box(name: str, lines: list[str], x: float, y: float, box: float, height: float, line: int) -> str:
    colour = "#e8f1fa" if name.startswith("hae") else "#fdf0e4"
    rows = "".join(f'<text x="{x + 12}" y="{y + 40 + i * line}" font-size="13" fill="#333">{escape(text)}</text>'
                   for i, text in enumerate(lines))  # fmt: skip
    title = name.replace(".", "/") + ("/" if "." in name else "")
    return (f'<rect x="{x}" y="{y}" width="{box}" height="{height}" rx="6" fill="{colour}" stroke="#888"/>'
            f'<text x="{x + 12}" y="{y + 20}" font-size="14" font-weight="bold">{escape(title)}</text>{rows}')  # fmt: skip


def _arrow(a: tuple[float, float, float], b: tuple[float, float, float], box: float) -> str:
    (ax, ay, ah), (bx, by, _) = a, b
    if ay == by:  # side by side
        x1, x2, y = (ax + box, bx, ay + 15) if ax < bx else (ax, bx + box, ay + 15)
        return f'<path d="M{x1} {y}L{x2} {y}" stroke="#666" fill="none" marker-end="url(#tip)"/>'
    start, end = ax + box / 2, bx + box / 2
    x1 = ax + box * min(max((end - ax) / box, 0.1), 0.9)
    x2 = bx + box * min(max((start - bx) / box, 0.1), 0.9)
    return f'<path d="M{x1:.0f} {ay + ah}L{x2:.0f} {by}" stroke="#666" fill="none" marker-end="url(#tip)"/>'


if __name__ == "__main__":
    (ROOT / "docs" / "rooms.svg").write_text(svg(), encoding="utf-8")
    print("docs/rooms.svg")
