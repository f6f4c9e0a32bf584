"""The arrow between the two rooms, and one door for each outside tool."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def imports(folder: str) -> dict[str, set[str]]:
    """Module -> the packages it imports anywhere, also inside functions."""
    found = {}
    for file in sorted((ROOT / folder).rglob("*.py")):
        names = set()
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module.partition(".")[0])
        found[str(file.relative_to(ROOT))] = names
    return found


def test_the_library_knows_nothing_of_the_retraining_system():
    for module, names in imports("hae").items():
        assert not names & {"pipelines", "prefect", "mlflow", "dvc", "pydantic", "click", "psutil", "ruamel"}, module


@pytest.mark.parametrize(("tool", "doors"), [
    ("dvc", {"pipelines/flow/versioning.py"}),
    ("prefect", {"pipelines/flow/flows.py", "pipelines/flow/serving.py"}),
])
def test_each_tool_has_its_door(tool, doors):
    assert {module for module, names in imports("pipelines").items() if tool in names} == doors


def test_stages_need_no_server():
    for module, names in imports("pipelines/stages").items():
        assert not names & {"prefect", "mlflow", "dvc"}, module


def test_stage_file_function_and_section_have_one_name():
    from pipelines.params import Params

    files = {file.stem for file in (ROOT / "pipelines" / "stages").glob("*.py")} - {"__init__"}
    stages = set(_graph()["stages"])
    assert stages == files
    for name in stages:
        tree = ast.parse((ROOT / "pipelines" / "stages" / f"{name}.py").read_text())
        assert {name, "main"} <= {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        assert name in Params.model_fields


def test_the_graph_names_files_that_exist():
    for stage in _graph()["stages"].values():
        for path in stage.get("do", stage)["deps"]:
            if path.startswith(("hae/", "pipelines/")):
                assert (ROOT / path).exists(), path


def _graph() -> dict:
    from ruamel.yaml import YAML

    return YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())
