"""What an import costs and changes."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = ("sklearn", "pandas", "pyarrow", "scipy", "matplotlib")


def modules(folder: str) -> list[str]:
    files = sorted((ROOT / "hae" / folder).rglob("*.py"))
    return [".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for file in files]


def told(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout.strip()


@pytest.mark.parametrize("folder", ["tests", "benchmarks", "examples"])
def test_nobody_outside_imports_a_private_name(folder):
    private = []
    for file in sorted((ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in ("hae", "pipelines"):
                names = {alias.name for alias in node.names if alias.name.startswith("_")} - {"__version__"}
                private += [f"{file.name}: {name}" for name in names]
    assert not private


@pytest.mark.parametrize("room", ["network", "training"])
def test_training_and_networks_import_nothing_heavy(room):
    """One process for a room: what a module loads stays loaded, so each is looked at after its own import."""
    names = modules(room)
    assert len(names) > 5
    found = told(
        "import importlib, sys\n"
        f"for name in {names}:\n"
        "    importlib.import_module(name)\n"
        f"    heavy = [one for one in {HEAVY} if one in sys.modules]\n"
        "    if heavy: sys.exit(print(name, heavy))\n"
        "print('light')"
    )
    assert found == "light"


WATCH = """
import importlib, os, sys, warnings
import numpy, torch, matplotlib
import matplotlib.pyplot
def state():
    return {
        "environment": dict(os.environ), "matplotlib": dict(matplotlib.rcParams), "filters": list(warnings.filters),
        "type": torch.get_default_dtype(), "threads": torch.get_num_threads(), "numpy": numpy.geterr(), "path": list(sys.path),
        "numbers": torch.random.get_rng_state().tolist(), "folder": os.getcwd(),
    }
for name in NAMES:
    before = state()
    importlib.import_module(name)
    after = state()
    changed = [key for key in before if before[key] != after[key]]
    if changed: sys.exit(print(name, changed))
print("nothing changed")
"""


def test_importing_a_module_changes_no_global_state():
    # Filters for warnings that libraries set on import are theirs: they are loaded before.
    libraries = "import sklearn.base, sklearn.utils.validation, sklearn.neighbors, scipy.stats, scipy.optimize, pandas, pyarrow.parquet\n"
    assert told(libraries + WATCH.replace("NAMES", repr(modules("")))) == "nothing changed"
