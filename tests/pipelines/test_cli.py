"""The command hae: quick where it can be, one line where something is wrong."""

import os
import subprocess
import sys

import pytest


def hae(*arguments, folder, python=("-m", "pipelines.cli"), **environment):
    return subprocess.run([sys.executable, *python, *arguments], cwd=folder, env=os.environ | environment, stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=250)


def test_help_imports_none_of_the_heavy_ones(tmp_path):
    told = hae(folder=tmp_path, python=("-c", "import sys; sys.argv = ['hae', '--help']\n"
               "from pipelines.cli import main\n"
               "main()\n"
               "assert not {'torch', 'mlflow', 'prefect', 'dvc', 'pandas', 'sklearn'} & set(sys.modules)"))
    assert told.returncode == 0, told.stderr
    for command in ("retrain", "serve", "status", "promote", "rollback", "transform"):
        assert f"  {command} " in told.stdout


def test_without_the_pipeline_extra_it_says_what_to_install(tmp_path):
    told = hae("retrain", folder=tmp_path, python=("-c", "import sys; sys.modules['click'] = None; import pipelines.cli"))
    assert told.returncode == 1
    assert told.stderr == "hae: click is not installed; the command needs: pip install 'hae[pipeline,md]'\n"


@pytest.mark.parametrize("command", [["retrain"], ["status"], ["rollback"], ["serve", "--cron", "0 3 * * *"]])
def test_no_project_is_one_line(command, tmp_path):
    told = hae(*command, folder=tmp_path)
    assert told.returncode == 2
    assert told.stderr.count("\n") == 1 and "no project here or above" in told.stderr
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def project(new_project):
    return new_project()


@pytest.mark.parametrize("command", [["retrain"], ["status"]])
def test_a_misspelled_key_is_one_line(command, new_project):
    folder = new_project()
    text = (folder / "params.yaml").read_text()
    (folder / "params.yaml").write_text(text.replace("n_seeds", "n_sedes", 1))
    told = hae(*command, folder=folder)
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
def test_a_stage_refuses_in_one_line(module, arguments, line, project):
    told = hae(*arguments, folder=project, python=("-m", f"pipelines.stages.{module}"))
    assert told.returncode == 2
    assert told.stderr.startswith(line) and told.stderr.count("\n") == 1
