"""What the pages tell a reader to type: every command and option is there, and docs/tutorial.md runs from its first line to its last."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from ruamel.yaml import YAML

from pipelines import cli

ROOT = Path(__file__).parents[1]
TUTORIAL = ROOT / "docs" / "tutorial.md"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
# A block of a page, and the comment before it, if any: <!-- not run: WHY -->, or <!-- short: "OLD" "NEW" ... -->, texts that tests change.
BLOCK = re.compile(r"(?:<!-- (not run|short): (.*?) -->\n)?```(?:sh|bash)\n(.*?)```", re.DOTALL)


def commands(page: Path) -> Iterator[list[str]]:
    """Lines `hae ...` of a page's blocks, as words."""
    text = page.read_text(encoding="utf-8")
    for script in [block[2] for block in BLOCK.findall(text)] + re.findall(r"(?m)^ {4}(hae .*)$", text):
        for line in script.replace("\\\n", " ").splitlines():
            if line.strip().startswith("hae "):
                yield shlex.split(line, comments=True)[1:]


def refused(words: list[str]) -> str:
    """What click has against a command line, without running it; files need not be there. Empty: nothing."""
    if words and words[0] == "--project":
        words = words[2:]
    command = cli.hae.commands.get(words[0]) if words else None
    if command is None:
        return f"no such command: {words[:1]}"
    context = click.Context(command, info_name=words[0])
    try:
        values, _, order = command.make_parser(context).parse_args(words[1:])
    except click.ClickException as error:
        return error.format_message()
    for parameter in order:
        if isinstance(parameter.type, click.Path):
            continue
        try:
            parameter.type_cast_value(context, values[parameter.name])
        except click.ClickException as error:
            return error.format_message()
    return ""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_and_option_of_a_page_is_there(page):
    assert {" ".join(words): refused(words) for words in commands(page) if refused(words)} == {}


def test_what_is_not_there_is_seen():
    assert len(list(commands(TUTORIAL))) >= 8
    assert "simulate" in refused(["simulate"])
    assert "--rouds" in refused(["explore", "--rouds", "3"])
    assert "-1" in refused(["sample", "--ns", "-1"])
    assert "'meta'" in refused(["sample", "--method", "meta"])
    assert refused(["init", "x", "--data", "nowhere.csv"]) == ""


def small(folder: Path) -> None:
    """Networks of 8 units and 5 epochs, which the gate lets pass whatever they are worth."""
    yaml = YAML()
    content = yaml.load(folder / "params.yaml")
    for section in (*content["train"].values(), content["baseline"]):
        section.update(max_epochs=5, n_seeds=1, hidden=[8])
    content["stability"]["replicas"] = 0
    content["promote"].update(pca=0.9, gain=0.9, worse=0.9, gradient=None)
    yaml.dump(content, folder / "params.yaml")


def shortened(block: str, short: str) -> str:
    words = shlex.split(short)
    for old, new in zip(words[::2], words[1::2], strict=True):
        assert old in block, f"{TUTORIAL.name}: nothing to shorten: {old!r} in {block!r}"
        block = block.replace(old, new)
    return block


def typed(script: str, folder: Path, environment: dict[str, str]) -> Path:
    """Run a block as bash does, end at the first command that fails, and say in which folder it ended."""
    where = folder / ".where"
    done = subprocess.run(["bash", "-ec", f'{script}\npwd >"$WHERE"'], cwd=where.read_text().strip() if where.exists() else folder,
                          env=environment | {"WHERE": str(where)}, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=1200)
    assert done.returncode == 0, f"{script}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return Path(where.read_text().strip())


@pytest.mark.acceptance
@pytest.mark.timeout(3600)
def test_the_tutorial_runs_line_by_line(tmp_path):
    if shutil.which("plumed") is None:
        pytest.skip("plumed is not on PATH: make acceptance has it")
    programs, walk = tmp_path / "bin", tmp_path / "walk"
    programs.mkdir()
    walk.mkdir()
    for name, more in {"hae": " -m pipelines.cli", "python": ""}.items():
        (programs / name).write_text(f'#!/bin/sh\nexec "{sys.executable}"{more} "$@"\n')
        (programs / name).chmod(0o755)
    environment = os.environ | {"HAE": str(ROOT), "PYTHONPATH": str(ROOT), "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
    ran = 0
    for mark, more, block in BLOCK.findall(TUTORIAL.read_text(encoding="utf-8")):
        if mark == "not run":
            continue
        here = typed(shortened(block, more) if mark else block, walk, environment)
        ran += 1
        if "hae init" in block:
            small(here)
    assert ran >= 6
    exported = walk / "peptide" / "exported"
    rows = [line.split() for line in (exported / "HILLS").read_text().splitlines() if not line.startswith("#")]
    assert len(rows) >= 20 and all(len(row) == len(rows[0]) for row in rows)
    assert (exported / "fes.dat").stat().st_size and (walk / "tripeptide" / "data" / "rounds" / "001" / "round.json").exists()
