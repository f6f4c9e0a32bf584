"""The house: the arrow between the two wings, the order of the rooms, one door for each outside tool, and stages that name their code."""

import ast
import graphlib
import importlib.util
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
spec = importlib.util.spec_from_file_location("rooms", ROOT / "docs" / "rooms.py")
rooms = importlib.util.module_from_spec(spec)
spec.loader.exec_module(rooms)

# They bring files, params and processes to a stage. What they bring is among its deps and params already, so a change of theirs alone
# must not train anew.
PLUMBING = {"hae", "hae.version", "hae.errors", "hae.files", "hae.devices", "hae.notices", "hae.engine", "hae.cluster", "hae.memory",
            "pipelines", "pipelines.stages", "pipelines.params", "pipelines.sections", "pipelines.settings", "pipelines.masking",
            "pipelines.paths", "pipelines.processes", "pipelines.warm", "pipelines.output", "pipelines.locks"}
OF_THE_PIPELINE = {"pipelines", "prefect", "mlflow", "dvc", "pydantic", "click", "psutil", "ruamel", "filelock"}
LONGEST = 350  # lines of a module


@cache
def outside(folder: str) -> dict[str, set[str]]:
    """Module -> the packages it imports anywhere, also inside functions."""
    found = {}
    for file in sorted((ROOT / folder).rglob("*.py")):
        names = set()
        for node in rooms.nodes(file):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module.partition(".")[0])
        found[str(file.relative_to(ROOT))] = names
    return found


def test_the_library_knows_nothing_of_the_retraining_system():
    for module, names in outside("hae").items():
        assert not names & OF_THE_PIPELINE, module


def test_lower_rooms_never_import_higher_ones():
    place = {name: number for number, name in enumerate(rooms.ROOMS)}
    upwards = [f"{name} -> {other}" for name, others in rooms.imports().items() for other in others
               if place[rooms.room(other)] > place[rooms.room(name)]]
    assert not upwards


@pytest.mark.parametrize("more", [(), ("benchmarks",)])
def test_there_is_no_circle_of_modules(more):
    graph = rooms.imports((*rooms.PACKAGES, *more))
    assert len(list(graphlib.TopologicalSorter(graph).static_order())) == len(graph)  # raises CycleError, which names the circle


def test_the_network_room_imports_nothing_of_ours_but_errors_and_by_relative_names():
    """Its folder travels with a registered model under another name, and has to work there without this library."""
    for name, others in rooms.imports().items():
        if name.startswith("hae.network"):
            assert all(other.startswith("hae.network") or other == "hae.errors" for other in others), name
    for module, names in outside("hae/network").items():
        assert "hae" not in names, module


def test_the_drawing_is_that_of_the_code():
    assert (ROOT / "docs" / "rooms.svg").read_text(encoding="utf-8") == rooms.svg(), "python docs/rooms.py draws it anew"


def test_modules_are_short():
    long = {str(file.relative_to(ROOT)): count for folder in ("hae", "pipelines", "benchmarks") for file in (ROOT / folder).rglob("*.py")
            if (count := len(file.read_text().splitlines())) > LONGEST}
    assert not long


def test_every_public_class_of_the_library_has_an_example():
    """In its docstring, run as a doctest with the other tests."""
    lacking = [f"{file.relative_to(ROOT)}: {node.name}" for file in sorted((ROOT / "hae").rglob("*.py")) for node in rooms.nodes(file)
               if isinstance(node, ast.ClassDef) and not node.name.startswith("_") and ">>> " not in (ast.get_docstring(node) or "")]
    assert not lacking


@pytest.mark.parametrize(("tool", "doors"), [
    ("dvc", {"pipelines/flow/versioning.py", "pipelines/warm.py"}),
    ("prefect", {f"pipelines/flow/{name}.py" for name in ("flows", "schedules")}),
])
def test_each_tool_has_its_door(tool, doors):
    assert {module for module, names in outside("pipelines").items() if tool in names} == doors


def test_stages_need_no_server():
    for module, names in outside("pipelines/stages").items():
        assert not names & {"prefect", "mlflow", "dvc"}, module


def test_engines_are_named_in_their_seam_alone():
    """Whoever has work in parts gives it to `hae.engine.map_parts` and does not ask who does it."""
    seam = {"hae/engine.py", "hae/cluster.py"}
    for module, names in (outside("hae") | outside("pipelines")).items():
        assert "ray" not in names or module in seam, module
    for folder in ("hae", "pipelines"):
        for file in sorted((ROOT / folder).rglob("*.py")):
            nodes = rooms.nodes(file)
            texts = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
            calls = [node for node in nodes if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "map_parts"]
            if str(file.relative_to(ROOT)) not in seam:
                assert not texts & {"HAE_ENGINE", "RAY_ADDRESS"}, file
                assert all(len(call.args) <= 2 and "engine" not in {word.arg for word in call.keywords} for call in calls), file


def test_stage_file_function_and_section_have_one_name():
    from pipelines.params import Params

    files = {file.stem for file in (ROOT / "pipelines" / "stages").glob("*.py")} - {"__init__"}
    stages = set(_graph()["stages"])
    assert stages == files
    for name in stages:
        tree = ast.parse((ROOT / "pipelines" / "stages" / f"{name}.py").read_text())
        assert {name, "main"} <= {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        assert name in Params.model_fields


@pytest.mark.parametrize("stage", sorted(file.stem for file in (ROOT / "pipelines" / "stages").glob("[!_]*.py")))
def test_a_stage_depends_on_the_code_that_it_imports_and_on_no_more(stage):
    about = _graph()["stages"][stage]
    named = {path for path in about.get("do", about)["deps"] if path.startswith(("hae/", "pipelines/"))}
    known = rooms.modules()
    reached = {name: known[name].relative_to(ROOT).as_posix()
               for name in rooms.closure(f"pipelines.stages.{stage}", rooms.imports()) - PLUMBING if known[name].name != "__init__.py"}
    missing = {path for path in reached.values() if not any(path == dep or path.startswith(f"{dep}/") for dep in named)}
    assert not missing, "dvc.yaml does not name what the stage imports"
    idle = {dep for dep in named if (ROOT / dep).is_dir() or dep.endswith(".py")
            if not any(path == dep or path.startswith(f"{dep}/") for path in reached.values())}
    assert not idle, "dvc.yaml names what the stage does not import"
    assert all((ROOT / dep).exists() for dep in named)


def _graph() -> dict:
    from ruamel.yaml import YAML

    return YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())


OF_A_KIND = re.compile(r"""(kind|kinds\[\w\]|of) (==|!=) "(circular|tanh)"|"linear", "tanh", "circular"|"linear": [01], "tanh"|"""
                       r"""\b(WIDTHS|PERIODS|SQUASH|HEADS|AFFINE)\[|about\["cv"\]""")


def test_the_list_of_places_that_know_the_kinds_of_cvs_is_whole():
    known = {path.relative_to(ROOT).as_posix() for wing in ("hae", "pipelines") for path in (ROOT / wing).rglob("*.py")
             if OF_A_KIND.search(path.read_text())}
    section = (ROOT / "docs" / "architecture.md").read_text().split("A kind of CV (linear")[1].split("\n## ")[0]
    listed, folder = set(), ""
    for word in re.findall(r"`([^`]+)`", section.partition("\n- ")[2]):
        if word.endswith("/"):
            folder = word
        else:
            listed.add(folder + word)
    assert listed == known
