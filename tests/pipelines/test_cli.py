"""The command hae: quick where it can be, one line where something is wrong."""

import os
import subprocess
import sys
from importlib import import_module
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pandas as pd
import pytest
from commanding import hae

from pipelines import output
from pipelines.flow import here
from pipelines.stages import run_stage


def process(*arguments, folder, python=("-m", "pipelines.cli")):
    return subprocess.run([sys.executable, *python, *arguments], cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=250)


def test_help_imports_none_of_the_heavy_ones(tmp_path):
    told = process(folder=tmp_path, python=("-c", "import sys; sys.argv = ['hae', '--help']\n"
               "from pipelines.cli import main\n"
               "main()\n"
               "assert not {'torch', 'mlflow', 'prefect', 'dvc', 'pandas', 'sklearn'} & set(sys.modules)"))
    assert told.returncode == 0, told.stderr
    for command in ("retrain", "serve", "status", "promote", "rollback", "transform"):
        assert f"  {command} " in told.stdout


def test_commands_that_train_nothing_load_nothing_that_trains(tmp_path):
    """What init, status, promote and rollback are made of; MLflow comes when its database is opened."""
    told = process(folder=tmp_path, python=("-c", "import sys\n"
               "import pipelines.project.init, pipelines.flow.status\n"
               "assert not {'torch', 'sklearn', 'scipy.stats', 'mlflow', 'prefect', 'matplotlib'} & set(sys.modules)\n"
               "import pipelines.gate.promotion\n"
               "assert not {'torch', 'sklearn', 'prefect', 'matplotlib'} & set(sys.modules)"))
    assert told.returncode == 0, told.stderr


def test_a_new_project_is_one_of_dvc(tmp_path):
    """dvc repro works right after hae init, without git."""
    table = np.random.default_rng(0).normal(size=(300, 3))
    pd.DataFrame(table, columns=list("abc")).to_csv(tmp_path / "table.csv", index=False)
    assert hae("init", "new", "--data", "table.csv", folder=tmp_path).returncode == 0
    told = process("status", folder=tmp_path / "new", python=("-m", "dvc"))
    assert told.returncode == 0 and "prepare:" in told.stdout and "not inside" not in told.stderr


def test_without_the_pipeline_extra_it_says_what_to_install(tmp_path):
    told = process("retrain", folder=tmp_path, python=("-c", "import sys; sys.modules['click'] = None; import pipelines.cli"))
    assert told.returncode == 1
    assert told.stderr == "hae: click is not installed; the command needs: pip install 'hae[pipeline,md]'\n"


@pytest.mark.parametrize(("run", "command"), [
    (process, ["retrain"]), (hae, ["status"]), (hae, ["rollback"]), (hae, ["serve", "--cron", "0 3 * * *"]),
])
def test_no_project_is_one_line(run, command, tmp_path):
    told = run(*command, folder=tmp_path)
    assert told.returncode == 2
    assert told.stderr.count("\n") == 1 and "no project here or above" in told.stderr
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def project(new_project):
    return new_project()


@pytest.mark.parametrize(("run", "command"), [(process, "retrain"), (hae, "status")])
def test_a_misspelled_key_is_one_line(run, command, new_project):
    folder = new_project()
    text = (folder / "params.yaml").read_text()
    (folder / "params.yaml").write_text(text.replace("n_seeds", "n_sedes", 1))
    told = run(command, folder=folder)
    assert told.returncode == 2
    assert told.stderr.startswith("params.yaml: train.collective.n_sedes: no such key; allowed: ")
    assert told.stderr.count("\n") == 1 and "did you mean n_seeds?" in told.stderr


def test_status_of_a_project_where_nothing_ran(project):
    told = hae("status", folder=project)
    assert told.returncode == 0, told.stderr
    assert "champion   none" in told.stdout
    assert "stale      prepare" in told.stdout


def test_status_from_elsewhere(project, tmp_path):
    assert hae("--project", str(project), "status", folder=tmp_path).stdout.startswith(f"project    {project}\n")


def test_there_is_nothing_to_promote_or_take_back(project):
    for command in (["promote", "3"], ["rollback"]):
        told = hae(*command, folder=project)
        assert told.returncode == 2 and told.stderr.count("\n") == 1, told.stderr


@pytest.mark.parametrize(("module", "arguments", "line"), [
    ("train", ["bosted"], "params.yaml: train.bosted: no such variant; allowed: collective, boosted (did you mean boosted?)"),
    ("train", [], "train: missing a required argument: 'variant'; allowed: train(variant"),
    ("prepare", ["now"], "prepare: too many positional arguments"),
])
def test_a_stage_refuses_in_one_line(module, arguments, line, project, monkeypatch, capsys):
    """As a program: tests/pipelines/stages/test_stages.py."""
    stage = getattr(import_module(f"pipelines.stages.{module}"), module)
    monkeypatch.chdir(project)
    monkeypatch.setattr(output, "guard_output", lambda: None)  # it is for the whole process
    monkeypatch.setattr(sys, "argv", [module, *arguments])
    with mock.patch.dict(os.environ), pytest.raises(SystemExit) as ended:
        run_stage(stage)
    told = capsys.readouterr().err
    assert ended.value.code == 2
    assert told.startswith(line) and told.count("\n") == 1


@pytest.mark.parametrize(("action", "champion", "code"), [
    ("promoted", "2", 0), ("held", "1", 0), ("failed", "1", 1), ("failed", None, 1), ("held", None, 3),
])
def test_the_exit_code_of_a_retraining_says_what_became_of_it(project, monkeypatch, action, champion, code):
    monkeypatch.setattr(output, "log_to", lambda path: None)  # it is for the whole process
    monkeypatch.setattr(here, "retrain", lambda *_: SimpleNamespace(action=action, reason="why", champion=champion, versions={}))
    told = hae("retrain", folder=project)
    assert told.returncode == code, told.stderr
    assert f"{action}: why\nchampion: {f'version {champion}' if champion else 'none'}\n" in told.stdout
