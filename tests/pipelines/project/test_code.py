"""hae's own code as a dependency of people's projects."""

import json
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from pipelines.project import code

ROOT = Path(__file__).parents[3]
TEMPLATE = (ROOT / "pipelines" / "project" / "dvc.yaml.j2").read_text()


def graph(text: str) -> dict:
    lines = (line for line in text.splitlines() if not line.startswith("{%") and "{{" not in line)
    return YAML(typ="safe").load("\n".join(lines))["stages"]


def test_the_same_code_is_said_to_be_the_same(tmp_path):
    code.write(tmp_path)
    before = (tmp_path / code.FILE).read_bytes()
    assert code.refresh(tmp_path) == []
    assert (tmp_path / code.FILE).read_bytes() == before


@pytest.mark.parametrize(("part", "value"), [("training", "another"), ("version", "0.0.1")])
def test_an_upgrade_is_said_and_written(tmp_path, part, value):
    now = code.write(tmp_path)
    (tmp_path / code.FILE).write_text(json.dumps({**now, part: value}))
    (line,) = code.refresh(tmp_path)
    assert part in line or f"hae {value} -> " in line
    assert json.loads((tmp_path / code.FILE).read_text()) == now


def test_a_checkout_of_hae_itself_is_left_alone(tmp_path):
    assert code.refresh(tmp_path) == []
    assert not (tmp_path / code.FILE).exists()


def test_a_file_that_is_no_json_is_written_anew(tmp_path):
    (tmp_path / code.FILE).write_text("{")
    assert "stale" in code.refresh(tmp_path)[0]


def test_a_project_depends_on_the_same_code_as_the_checkout():
    """Parts of hae.json under each stage of the template are the folders and files of hae's own dvc.yaml."""
    own = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())["stages"]
    for name, stage in graph(TEMPLATE).items():
        about = stage.get("do", stage)
        parts = set(next(entry["hae.json"] for entry in about["params"] if isinstance(entry, dict))) - {"version"}
        assert parts <= set(code.rooms())
        deps = {dep for dep in own[name].get("do", own[name])["deps"] if dep.startswith(("hae/", "pipelines/"))}
        assert parts == {"estimator" if Path(dep).name in code.FACE else Path(dep).stem for dep in deps}, name
