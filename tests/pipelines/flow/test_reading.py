"""Rows that arrive while a stage reads are not lost: it runs again, or counts as one that has not run."""

import sys
from pathlib import Path

import pandas as pd
import pytest
from ruamel.yaml import YAML

from hae.data.frames import Frames
from hae.errors import BadInput
from pipelines import processes, settings
from pipelines.flow import reading, versioning

TABLE, PREPARED = Path("data/raw/table.csv"), Path("data/prepared/frames")
# Reads, then others bring a row, as often as LEFT says, then it ends: DVC hashes what is there by then.
READS = """
import pathlib
table, left = pathlib.Path("data/raw/table.csv"), pathlib.Path("left")
text = table.read_text()
if int(left.read_text()):
    left.write_text(str(int(left.read_text()) - 1))
    table.chmod(0o644)
    with open(table, "a") as file:
        file.write("0,0,0,0,0,run0\\n")
pathlib.Path("data/prepared").mkdir(exist_ok=True)
pathlib.Path("data/prepared/frames").write_text(text)
"""


# A trajectory more, which arrives between the last reading of the real stage and DVC's look at the data.
BRINGS = """
import pathlib
table, left = pathlib.Path("data/raw/table.csv"), pathlib.Path("left")
if int(left.read_text()):
    left.write_text("0")
    table.chmod(0o644)
    with open(table, "a") as file:
        file.writelines(f"{row / 50},{row},1,2,{-row},run-new\\n" for row in range(100))
"""


@pytest.fixture
def project(new_project, monkeypatch) -> Path:
    folder = new_project()
    (folder / "reads.py").write_text(READS)
    (folder / "left").write_text("0")
    stage = {"cmd": "python reads.py", "deps": ["data/raw"], "params": ["prepare"], "outs": [str(PREPARED)]}
    YAML().dump({"stages": {"prepare": stage}}, folder / "dvc.yaml")
    monkeypatch.setenv("PATH", f"{sys.prefix}/bin", prepend=":")
    settings.prepare_environment(folder)
    return folder


def prepare(project: Path, brought: int) -> list[str]:
    """Run the stage while so many rows are brought, one a run; gives what was said."""
    said: list[str] = []
    (project / "left").write_text(str(brought))
    with processes.children():
        assert reading.run(project, "prepare", said.append) == 0, said
    return said


def whole(project: Path) -> bool:
    return (project / PREPARED).read_text() == (project / TABLE).read_text()


def test_rows_that_arrive_while_it_runs_are_read_by_a_second_run(project):
    said = prepare(project, brought=1)
    assert whole(project)
    assert not versioning.read_graph(project).stale
    assert [line for line in said if "data/raw changed while prepare was at work" in line]
    assert not list((project / ".hae" / "reading").iterdir())


def test_data_that_stand_still_are_read_once(project):
    assert not any("at work" in line for line in prepare(project, brought=0))
    assert (project / "left").read_text() == "0" and whole(project)


def test_data_that_never_stand_still_are_one_line_and_the_stage_stays_stale(project):
    with pytest.raises(BadInput, match="prepare: data/raw changed while it was at work, 3 times"):
        prepare(project, brought=100)
    assert (project / "left").read_text() == "97"
    assert versioning.read_graph(project).stale == {"prepare"}
    prepare(project, brought=0)
    assert whole(project) and not versioning.read_graph(project).stale


def test_a_retraining_killed_in_between_is_put_right_by_the_next(project, monkeypatch):
    """DVC has recorded, and holds in its cache, what the stage did not read."""
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(reading, "_changed", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        prepare(project, brought=1)
    assert not whole(project) and not versioning.read_graph(project).stale
    reading.put_right(project)
    assert versioning.read_graph(project).stale == {"prepare"}
    prepare(project, brought=0)
    assert whole(project) and not versioning.read_graph(project).stale


def test_no_row_that_arrives_while_prepare_runs_is_lost(new_project):
    folder = new_project()
    (folder / "brings.py").write_text(BRINGS)
    (folder / "left").write_text("1")
    yaml = YAML()
    graph = yaml.load((folder / "dvc.yaml").read_text())
    graph["stages"]["prepare"]["cmd"] += " && python brings.py"
    yaml.dump(graph, folder / "dvc.yaml")
    settings.prepare_environment(folder)
    with processes.children():
        assert reading.run(folder, "prepare", print) == 0
    assert (folder / "left").read_text() == "0"
    frames = Frames.read(folder / PREPARED)
    assert len(frames) == len(pd.read_csv(folder / TABLE)) == 1300
    assert (frames.trajectory == "run-new").sum() == 100
    assert "prepare" not in versioning.read_graph(folder).stale
