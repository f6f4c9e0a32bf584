"""What DVC says is stale, what runs beside what, and last month's data had back."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML
from waiting import wait_until

from hae.errors import BadInput
from pipelines import params
from pipelines.flow import versioning

COPY = "python -c \"import pathlib, sys; p = pathlib.Path(sys.argv[2]); p.parent.mkdir(parents=True, exist_ok=True); " \
       "p.write_text(pathlib.Path(sys.argv[1]).read_text())\""


@pytest.fixture(scope="module")
def fresh(new_project):
    """Small, with stages that only copy files: what runs when is the same. Nothing has run."""
    folder = new_project()
    yaml = YAML()
    graph = {
        "prepare": {"cmd": f"{COPY} data/raw/table.csv data/prepared/frames", "deps": ["data/raw"], "params": ["prepare"],
                    "outs": ["data/prepared/frames"]},
        "train": {"foreach": "${train}", "do": {
            "cmd": f"{COPY} data/prepared/frames models/${{key}}/model", "deps": ["data/prepared/frames"],
            "params": ["train.${key}"], "outs": ["models/${key}"], "meta": {"gpu": True}}},
        "baseline": {"cmd": f"{COPY} data/prepared/frames models/baseline", "deps": ["data/prepared/frames"],
                     "params": ["baseline"], "outs": ["models/baseline"]},
        "report": {"cmd": f"{COPY} models/boosted/model results/table.csv",
                   "deps": ["models/boosted", "models/collective", "models/baseline"], "outs": ["results/table.csv"]},
    }
    yaml.dump({"stages": graph}, folder / "dvc.yaml")
    return folder


@pytest.fixture
def project(fresh, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", f"{sys.prefix}/bin", prepend=":")
    return Path(shutil.copytree(fresh, tmp_path / "project"))


@pytest.fixture(scope="module")
def brought(fresh, tmp_path_factory):
    """All stages run once."""
    folder = tmp_path_factory.mktemp("done") / "project"
    shutil.copytree(fresh, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{sys.prefix}/bin", prepend=":")
        versioning.read_graph(folder)
        bring_up_to_date(folder)
    return folder


@pytest.fixture
def done(brought, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", f"{sys.prefix}/bin", prepend=":")
    return Path(shutil.copytree(brought, tmp_path / "done"))


def bring_up_to_date(project) -> str:
    """Run what is stale; gives what DVC said."""
    return subprocess.run([sys.executable, "-m", "dvc", "repro"], cwd=project, check=True, capture_output=True, text=True).stdout


def change(project, *keys, **values):
    yaml = YAML()
    content = yaml.load((project / "params.yaml").read_text())
    section = content
    for key in keys:
        section = section[key]
    section.update(values)
    yaml.dump(content, project / "params.yaml")


def test_waves_follow_the_graph(project):
    graph = versioning.read_graph(project)
    assert graph.waves() == [["prepare"], ["baseline", "train@boosted", "train@collective"], ["report"]]
    assert {name for name, stage in graph.stages.items() if stage.gpu} == {"train@boosted", "train@collective"}


def test_one_changed_number_makes_one_variant_stale_and_what_reads_it(done):
    assert not versioning.read_graph(done).stale
    change(done, "train", "boosted", n_seeds=7)
    graph = versioning.read_graph(done)
    assert graph.waves() == [["train@boosted"], ["report"]]
    assert graph.stages["train@boosted"].changed == ("train.boosted modified",)


def test_a_number_set_back_trains_nothing(done):
    change(done, "train", "boosted", n_seeds=7)
    assert "Running stage 'train@boosted'" in bring_up_to_date(done)
    change(done, "train", "boosted", n_seeds=2)
    lines = subprocess.run(versioning.command("train@boosted"), cwd=done, check=True, capture_output=True, text=True).stdout
    assert "Running stage" not in lines


def test_changed_data_reach_everything(done):
    with open(done / "data" / "raw" / "table.csv", "a") as file:
        file.write("0,0,0,0,0,run0\n")
    assert len(versioning.read_graph(done).stale) == 5


def test_facts_are_known_before_a_stage_runs_and_stay(done):
    after = versioning.stage_facts(done, "train@boosted")
    shutil.rmtree(done / "models")
    (done / "dvc.lock").unlink()
    before = versioning.stage_facts(done, "train@boosted")
    assert before == after and before.key == after.key
    assert before.command.endswith("models/boosted/model")
    assert set(before.dependencies) == {"data/prepared/frames"}
    assert before.params["train.boosted"]["n_cvs"] == 2
    assert versioning.recorded(versioning.read_graph(done)) == ["train@collective", "train@boosted", "baseline"]


def test_own_data_can_be_had_back(project):
    table = project / "data" / "raw" / "table.csv"
    old = table.read_text()
    loaded = params.load(project / "params.yaml")
    assert versioning.snapshot(project, loaded) == ["data/raw"]
    receipt = (project / "data" / "raw.dvc").read_text()
    assert versioning.snapshot(project, loaded) == []
    table.chmod(0o644)
    table.write_text(old + "0,0,0,0,0,run0\n")
    assert versioning.snapshot(project, loaded) == ["data/raw"]
    (project / "data" / "raw.dvc").write_text(receipt)
    subprocess.run([sys.executable, "-m", "dvc", "checkout", "--force", "data/raw.dvc"], cwd=project, check=True, capture_output=True)
    assert table.read_text() == old


def test_the_digest_is_of_the_content(project):
    first = versioning.data_digest(project)
    table = project / "data" / "raw" / "table.csv"
    text = table.read_text()
    table.write_text(text + "0,0,0,0,0,run0\n")
    second = versioning.data_digest(project)
    table.write_text(text)
    assert first != second and versioning.data_digest(project) == first


def test_a_link_that_leads_nowhere_is_named_and_may_be_left_out(project):
    """It may be data that are away: nothing is taken for the data without it, unless that is said."""
    before = versioning.data_digest(project)
    (project / "data/raw/gone.csv").symlink_to("nowhere")
    for look in (versioning.data_digest, lambda folder: versioning.stage_facts(folder, "prepare")):
        with pytest.raises(BadInput, match=r"^data/raw/gone\.csv: a broken link.*\.dvcignore$"):
            look(project)
    (project / ".dvcignore").write_text("gone.csv\n")
    assert versioning.data_digest(project) == before


def test_data_that_a_change_of_would_go_unseen_are_refused(project, tmp_path):
    change(project, "prepare", trajectories=["data/other.csv"])
    (project / "data" / "other.csv").write_text("a\n1\n")
    with pytest.raises(BadInput, match=r"dvc.yaml: prepare.deps: data/other.csv is missing"):
        versioning.snapshot(project, params.load(project / "params.yaml"))
    (tmp_path / "far.csv").write_text("a\n1\n")
    change(project, "prepare", trajectories=[str(tmp_path / "far.csv")])
    with pytest.raises(BadInput, match="is not in the project"):
        versioning.snapshot(project, params.load(project / "params.yaml"))


@pytest.mark.parametrize("where", ["nowhere", "here", "above"])
def test_with_git_without_and_below_it(project, where):
    if where != "nowhere":
        subprocess.run(["git", "init", "-q"], cwd=project if where == "here" else project.parent, check=True)
    assert versioning.read_graph(project).waves()[0] == ["prepare"]
    assert "Running stage 'prepare'" in subprocess.run(
        versioning.command("prepare"), cwd=project, check=True, capture_output=True, text=True).stdout


def test_a_broken_graph_is_said_in_one_line(project):
    (project / "dvc.yaml").write_text("stages:\n  prepare:\n    cnd: echo\n")
    with pytest.raises(BadInput) as caught:
        versioning.read_graph(project)
    assert str(caught.value).startswith("dvc.yaml: ") and "\n" not in str(caught.value)


@pytest.mark.parametrize(("left", "line"), [
    ("<<<<<<< HEAD\n{good}=======\n{good}>>>>>>> other\n", "dvc.lock: a merge left its conflict marks; allowed: either side of it whole"),
    ("", "dvc.lock: it can't be read"),
    ("- a\n", "dvc.lock: it can't be read"),
])
def test_a_lock_file_that_is_none_is_said_in_one_line(done, left, line):
    lock = done / "dvc.lock"
    good = lock.read_text()
    lock.write_text(left.replace("{good}", good))
    with pytest.raises(BadInput) as caught:
        versioning.read_graph(done)
    assert str(caught.value).startswith(line) and "\n" not in str(caught.value)
    lock.write_text(good)
    assert not versioning.read_graph(done).stale


WRITES = """
import pathlib, time
from dvc.repo import Repo
lock = pathlib.Path("dvc.lock")
good = lock.read_text()
with Repo().lock:
    lock.write_text("")
    print("empty", flush=True)
    time.sleep(2)
    lock.write_text(good)
"""


def test_a_lock_file_is_not_read_while_dvc_writes_it(done):
    """A stage that ends beside another has its DVC write dvc.lock, not in one move."""
    facts = versioning.stage_facts(done, "train@boosted")
    for read in (lambda: versioning.read_graph(done).stale, lambda: versioning.recorded_sources(done, "prepare") or None,
                 lambda: versioning.stage_facts(done, "train@boosted")):
        writer = subprocess.Popen([sys.executable, "-c", WRITES], cwd=done, stdout=subprocess.PIPE, text=True)
        assert writer.stdout.readline() == "empty\n"
        assert read() in (frozenset(), facts, versioning.sources(done, "prepare"))
        assert writer.wait() == 0


def test_a_stage_at_work_keeps_nobody_from_looking(done):
    """DVC locks what a running stage reads and writes, and its own status fails on such a lock."""
    yaml = YAML()
    graph = yaml.load((done / "dvc.yaml").read_text())
    graph["stages"]["train"]["do"]["cmd"] = "touch started && sleep 60"
    yaml.dump(graph, done / "dvc.yaml")
    at_work = subprocess.Popen(versioning.command("train@boosted"), cwd=done, start_new_session=True, stdout=subprocess.DEVNULL)
    try:
        assert wait_until((done / "started").exists, 60)
        assert "train@boosted" in versioning.read_graph(done).stale
        assert versioning.snapshot(done, params.load(done / "params.yaml")) == ["data/raw"]
        assert versioning.snapshot(done, params.load(done / "params.yaml")) == []
        assert at_work.poll() is None
    finally:
        os.killpg(at_work.pid, signal.SIGKILL)
        at_work.wait()


def test_a_stage_can_be_forgotten(done):
    versioning.forget(done, "train@boosted")
    assert versioning.read_graph(done).stale == {"train@boosted", "report"}
    assert versioning.read_graph(done).stages["train@boosted"].changed == ("has not run yet",)
