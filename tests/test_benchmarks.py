"""Benchmarks say what they do to whoever asks."""

import importlib
import sys
from pathlib import Path

import pytest

SCRIPTS = sorted(path.stem for path in (Path(__file__).parents[1] / "benchmarks").glob("*.py") if "parse_args()" in path.read_text())


@pytest.mark.parametrize("name", SCRIPTS)
def test_help_is_printed_and_nothing_done(name, monkeypatch, capsys):
    script = importlib.import_module(f"benchmarks.{name}")
    monkeypatch.setattr(sys, "argv", [f"benchmarks/{name}.py", "--help"])
    with pytest.raises(SystemExit) as ended:
        script.main()
    assert ended.value.code == 0 and capsys.readouterr().out.startswith("usage: ")
