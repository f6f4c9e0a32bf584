"""No secret leaves: all that a retraining says and writes is searched for the password of an address."""

import os
import shutil
import subprocess
import sys

import pytest

from pipelines.flow import retraining

SECRET = "pass%2Fword-of-the-lab"
MEANT = "pass/word-of-the-lab"
DEAD = f"http://somebody:{SECRET}@127.0.0.1:9"


def hae(*arguments, folder, python=("-m", "pipelines.cli"), **environment) -> subprocess.CompletedProcess:
    own = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    own |= {"HTTP_PROXY": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9"}  # that would be asked for everything elsewhere
    return subprocess.run([sys.executable, *python, *arguments], cwd=folder, env=own | environment, stdin=subprocess.DEVNULL,
                          capture_output=True, timeout=500)


def holders(folder, *texts: bytes) -> list[str]:
    """Who holds the secret: files below the folder, or `said`."""
    files = {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
    files |= {f"said {number}": text for number, text in enumerate(texts)}
    return [name for name, content in files.items() if SECRET.encode() in content or MEANT.encode() in content]


@pytest.mark.timeout(600)
def test_a_retraining_whose_record_is_away_shows_no_password(run_project):
    folder = run_project("stability")
    text = (folder / "params.yaml").read_text()
    (folder / "params.yaml").write_text(text.replace("max_epochs: 60", "max_epochs: 3", 1))  # of one variant
    told = hae("retrain", folder=folder, MLFLOW_TRACKING_URI=DEAD)
    assert told.returncode == 2, told.stderr
    assert b"\nrecord: MLflow at http://***@127.0.0.1:9" in told.stderr
    status = hae("status", folder=folder, MLFLOW_TRACKING_URI=DEAD)
    assert b"http://***@127.0.0.1:9" in status.stdout
    assert (folder / ".hae" / "prefect" / "prefect.db").exists()
    note = retraining.notes(folder)[0]
    assert note["stages"][0].startswith("train@") and note["stages"][-1] == "report"
    assert note["ending"].startswith("record: MLflow at http://***@")
    assert not holders(folder, told.stdout, told.stderr, status.stdout, status.stderr)
    key = (folder / ".hae" / "prefect-auth").read_text().strip().encode()
    kept = [path for path in folder.rglob("*") if path.is_file() and path.name != "prefect-auth" and key in path.read_bytes()]
    assert not kept and key not in told.stdout + told.stderr


@pytest.mark.timeout(600)
@pytest.mark.parametrize("command", [["retrain"], ["serve", "--cron", "0 3 * * *"]])
def test_a_prefect_that_is_away_is_one_line_without_its_password(command, new_project):
    folder = new_project()
    impatient = ("-c", "from pipelines.cli import main; from pipelines.flow import server; server.ANSWERS = 1; main()")
    told = hae(*command, folder=folder, python=impatient, PREFECT_API_URL=f"{DEAD}/api")
    assert told.returncode == 2
    assert told.stderr.count(b"\n") == 1 and b"127.0.0.1:9/api" in told.stderr, told.stderr
    shutil.rmtree(folder / "data")
    assert not holders(folder, told.stdout, told.stderr)
