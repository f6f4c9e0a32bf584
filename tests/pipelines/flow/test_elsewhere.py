"""What is for other machines: prefect.yaml, as Prefect itself reads it, and the Containerfile, as its linter does."""

import re
import shlex
import subprocess
import tomllib
from inspect import signature
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def deployments():
    """prefect.yaml by the loader of `prefect deploy`: each deployment by name, and what is done before a run."""
    from prefect.cli.deploy._config import _load_deploy_configs_and_actions
    from rich.console import Console

    found, actions = _load_deploy_configs_and_actions(ROOT / "prefect.yaml", console=Console(quiet=True))
    return {one["name"]: one for one in found}, actions


def test_prefect_reads_both_kinds_of_work_pools(deployments):
    from prefect.flows import load_flow_from_entrypoint
    from prefect.schedules import Cron

    found, _ = deployments
    assert set(found) == {"process", "kubernetes"}
    for one in found.values():
        flow = load_flow_from_entrypoint(one["entrypoint"])
        assert flow.name == "retrain" and flow.validate_parameters(one["parameters"]) == {"promotes": True, "served": False}
        assert [Cron(schedule["cron"], timezone=schedule["timezone"]) for schedule in one["schedules"]] and one["concurrency_limit"] == 1
        assert one["work_pool"]["job_variables"]["env"]["HAE_PROJECT"] == "."


def test_steps_before_a_run_are_prefects_and_take_what_is_given(deployments):
    from prefect.utilities.importtools import import_object

    _, actions = deployments
    for step in actions["pull"]:
        ((name, given),) = step.items()
        signature(import_object(name)).bind(**{key: value for key, value in given.items() if key != "id"})


def test_variables_are_those_that_the_pools_know(deployments):
    from prefect.workers.process import ProcessJobConfiguration

    found, _ = deployments
    assert set(found["process"]["work_pool"]["job_variables"]) <= set(ProcessJobConfiguration.model_fields)
    # of the base job template of prefect-kubernetes, which is no part of what hae installs
    assert set(found["kubernetes"]["work_pool"]["job_variables"]) <= {"image", "command", "env"}
    shell, option, line = shlex.split(found["kubernetes"]["work_pool"]["job_variables"]["command"])
    assert (shell, option) == ("sh", "-c") and "prefect flow-run execute" in line and "dvc push --run-cache" in line


def test_what_the_container_copies_and_installs_is_there():
    text = (ROOT / "Containerfile").read_text()
    copied = [name for line in re.findall(r"^COPY (.+)$", text, re.MULTILINE) for name in line.split()[:-1]]
    assert {"pyproject.toml", "constraints.txt", "hae", "pipelines"} <= set(copied) and all((ROOT / name).exists() for name in copied)
    extras = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
    named = re.findall(r"EXTRAS=([\w,]+)", text)
    assert named and all(set(one.split(",")) <= extras for one in named)
    assert "USER 1000" in text.split("RUN python3 -m venv")[1]


@pytest.mark.acceptance
@pytest.mark.needs_hadolint
def test_the_linter_of_containers_has_nothing_to_say():
    told = subprocess.run(["hadolint", "--failure-threshold", "info", "Containerfile"], cwd=ROOT, capture_output=True, text=True)
    assert told.returncode == 0, told.stdout + told.stderr
