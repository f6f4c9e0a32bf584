"""Where benchmarks write: a section of docs/benchmarks.md each, between two marks, and on the screen."""

import argparse
from pathlib import Path

from hae.files import written_whole

__all__ = ["arguments", "publish", "table"]

DOCS = Path(__file__).parents[1] / "docs" / "benchmarks.md"


def arguments(about: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--docs", action="store_true", help="write the section of docs/benchmarks.md and its figure too")
    return parser


def table(head: list[str], rows: list[list]) -> str:
    """A Markdown table; numbers to the right."""
    line = lambda cells: "| " + " | ".join(str(cell) for cell in cells) + " |"  # noqa: E731
    return "\n".join([line(head), "|" + "---|" + "---:|" * (len(head) - 1), *map(line, rows)])


def publish(name: str, text: str, docs: bool, page: Path = DOCS) -> None:
    """Print a section; with ``docs`` put it between its marks in a page, docs/benchmarks.md unless another is said."""
    print(text)
    if not docs:
        return
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, _, rest = page.read_text().partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        raise SystemExit(f"{page}: no marks {begin} and {end}")
    with written_whole(page) as partial:
        partial.write_text(f"{before}{begin}\n{text}\n{end}{after}")
