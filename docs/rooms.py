"""Draw the rooms of the code and who imports whom, from the imports themselves: python docs/rooms.py writes docs/rooms.svg.

tests/test_architecture.py uses the same graph, and fails where the drawing is not that of the code.
"""

from __future__ import annotations

import ast
import textwrap
from functools import cache
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("hae", "pipelines")
WIDTH, BOX, LINE, CHARS = 760, 560, 17, 76  # of the drawing, its boxes, and of a line of text
# From the lowest to the highest: a room imports from rooms before it, never from one behind. Files of a package's own folder that others
# build on are its ground, the others are its face.
ROOMS = (
    "hae (ground)", "hae.network", "hae.data", "hae.training", "hae.importance", "hae.export", "hae.sampling", "hae.figures", "hae (face)",
    "pipelines (ground)", "pipelines.record", "pipelines.page", "pipelines.stages", "pipelines.gate", "pipelines.project",
    "pipelines.watch", "pipelines.flow", "pipelines.loop", "pipelines.upkeep", "pipelines (face)",
)  # fmt: skip
GROUND = {
    "hae": {"version", "errors", "files", "devices", "notices", "engine", "cluster", "memory"},
    "pipelines": {"paths", "settings", "masking", "sections", "params", "processes", "warm", "locks", "output", "terminal"},
}


def modules(packages=PACKAGES) -> dict[str, Path]:
    """Dotted name -> file; a package goes by its name."""
    found = {}
    for package in packages:
        for file in sorted((ROOT / package).rglob("*.py")):
            parts = file.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


@cache
def imports(packages=PACKAGES) -> dict[str, set[str]]:
    """Module -> modules of ours that it imports anywhere: inside functions and under TYPE_CHECKING too."""
    known = modules(packages)
    return {name: _imported(name, file, known) - {name} for name, file in known.items()}


@cache
def nodes(file: Path) -> list[ast.AST]:
    """All nodes of a module's syntax tree."""
    return list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))


def _imported(name: str, file: Path, known: dict[str, Path]) -> set[str]:
    package = name.split(".") if file.name == "__init__.py" else name.split(".")[:-1]
    found: set[str] = set()
    for node in nodes(file):
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
    """The drawing: the highest room on top, and beside the rooms an arc from each to those that it imports from."""
    inside: dict[str, list[str]] = {}
    for name, file in modules().items():
        if file.name != "__init__.py":
            inside.setdefault(room(name), []).append(name.rpartition(".")[2])
    y, texts, places = 12.0, [], {}
    for name in reversed([name for name in ROOMS if name in inside]):
        lines = textwrap.wrap(", ".join(sorted(inside[name])), CHARS)
        height = 32 + LINE * len(lines)
        places[name] = y + height / 2
        texts.append(_box(name, lines, y, height))
        y += height + 12
    arcs = [_arc(places[a], places[b], number) for number, (a, b) in enumerate(_reduced(arrows(imports())))]
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y:.0f}" font-family="sans-serif" role="img" '
        'aria-label="The rooms of hae and pipelines, the highest on top, and who imports whom">',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0 8 4 0 8z" fill="#555"/></marker></defs>',
        f'<rect width="{WIDTH}" height="{y:.0f}" fill="#fff"/>',
        *texts, *arcs, "</svg>", "",
    ])  # fmt: skip


def _box(name: str, lines: list[str], y: float, height: float) -> str:
    colour = "#e8f1fa" if name.startswith("hae") else "#fdf0e4"
    rows = "".join(f'<text x="24" y="{y + 38 + i * LINE}" font-size="13" fill="#333">{escape(text)}</text>' for i, text in enumerate(lines))
    title = name.replace(".", "/") + ("/" if "." in name else "")
    return (f'<rect x="12" y="{y}" width="{BOX}" height="{height}" rx="6" fill="{colour}" stroke="#888"/>'
            f'<text x="24" y="{y + 20}" font-size="14" font-weight="bold">{escape(title)}</text>{rows}')  # fmt: skip


def _arc(start: float, end: float, number: int) -> str:
    """An arc on the right of the boxes, further out the longer it is; ends are set apart, so that arcs can be told from each other."""
    x, reach = BOX + 12, 26 + (end - start) * 0.24
    start, end = start + 3, end - 6 + number % 4 * 3
    return (f'<path d="M{x} {start:.0f}C{x + reach:.0f} {start:.0f} {x + reach:.0f} {end:.0f} {x} {end:.0f}" stroke="#555" fill="none" '
            'marker-end="url(#tip)"/>')  # fmt: skip


if __name__ == "__main__":
    (ROOT / "docs" / "rooms.svg").write_text(svg(), encoding="utf-8")
    print("docs/rooms.svg")
