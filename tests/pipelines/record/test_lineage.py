"""The receipt: a key that depends on what makes a model and on nothing else, and the code as it stood."""

import subprocess

import pytest

from pipelines.record.lineage import Code, StageFacts, code, packages, receipt

FACTS = StageFacts("python -m train", {"data": "abc", "network.py": "def"}, {"train.boosted": {"n_cvs": 3, "hidden": [64, 64]}})


def test_the_key_is_of_content_not_of_order():
    same = StageFacts("python -m train", {"network.py": "def", "data": "abc"}, {"train.boosted": {"hidden": (64, 64), "n_cvs": 3}})
    assert same.key == FACTS.key


@pytest.mark.parametrize(
    "other",
    [
        StageFacts("python -m train2", FACTS.dependencies, FACTS.params),
        StageFacts(FACTS.command, {"data": "abc", "network.py": "xyz"}, FACTS.params),
        StageFacts(FACTS.command, {"data": "abc"}, FACTS.params),
        StageFacts(FACTS.command, FACTS.dependencies, {"train.boosted": {"n_cvs": 2, "hidden": [64, 64]}}),
    ],
)
def test_the_key_changes_with_command_data_code_and_params(other):
    assert other.key != FACTS.key


@pytest.fixture
def checkout(tmp_path):
    def git(*arguments):
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments], cwd=tmp_path, check=True, capture_output=True)

    git("init", "-q")
    for name in ("code.py", "dvc.lock", "raw.dvc", ".gitignore"):
        (tmp_path / name).write_text("first\n")
    git("add", "-A")
    git("commit", "-q", "-m", "first")
    return tmp_path


def test_committed_code_needs_no_patch(checkout):
    found = code(checkout)
    assert len(found.commit) == 40 and found.patch == ""


def test_the_patch_holds_changed_code_and_new_files_are_named_alone(checkout):
    """An untracked .env may hold a secret: it stays where it is. A link that leads nowhere stops nothing."""
    (checkout / "code.py").write_text("second\n")
    (checkout / ".env").write_text("TOKEN=s3cret\n")
    (checkout / "gone").symlink_to("nowhere")
    found = code(checkout)
    patch = found.patch
    assert "+second" in patch and "s3cret" not in patch and set(found.untracked) == {".env", "gone"}
    made = receipt(FACTS, found, training={})
    assert made["uncommitted_code"] and made["untracked_files"] == list(found.untracked)
    subprocess.run(["git", "stash", "-q"], cwd=checkout, check=True, env={"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b",
                   "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b", "PATH": "/usr/bin:/bin"})
    subprocess.run(["git", "apply", "-"], input=patch, text=True, cwd=checkout, check=True)
    assert (checkout / "code.py").read_text() == "second\n"


def test_what_dvc_writes_is_no_uncommitted_code(checkout):
    (checkout / "sub").mkdir()
    for name in ("dvc.lock", "raw.dvc", ".gitignore", "new.dvc", "sub/.gitignore", "sub/other.dvc"):
        (checkout / name).write_text("changed by DVC\n")
    assert code(checkout).patch == ""


def test_outside_git_there_is_no_commit(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert code(tmp_path) == Code("", "")


def test_the_receipt_names_what_made_the_model():
    made = receipt(FACTS, Code("c0ffee", "a patch"), training={"device": "cuda"}, best_member=1)
    assert made["git_commit"] == "c0ffee" and made["uncommitted_code"] and made["device"] == "cuda" and made["best_member"] == 1
    assert made["dependencies"] == {"data": "abc", "network.py": "def"} and made["packages"]["torch"] == packages()["torch"]
