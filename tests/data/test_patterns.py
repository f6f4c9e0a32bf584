"""Files that people name: what is read is what is snapshotted, whatever the folder is called."""

import pytest

from hae.data.patterns import find_files, matches
from hae.errors import BadInput


@pytest.fixture
def folder(tmp_path):
    """A project whose own path has wild cards in it."""
    root = tmp_path / "pr[1]*"
    for name in ("data/a/md.xtc", "data/b/md.xtc", "data/b/deep/er/md.xtc", "data/.hidden/md.xtc", "data/b/.md.xtc"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    (root / "data/c").mkdir()
    (root / "data/c/md.xtc").symlink_to("nowhere")
    return root


def test_wild_cards_of_the_project_s_own_path_are_letters(folder):
    assert set(find_files(["data/*/md.xtc"], folder)) == {"a/md", "b/md"}
    assert find_files(["data/a/md.xtc"], folder) == {"md": folder / "data/a/md.xtc"}


def test_two_stars_are_any_number_of_folders_and_hidden_ones_are_left_out(folder):
    assert set(find_files(["data/**/*.xtc"], folder)) == {"a/md", "b/md", "b/deep/er/md"}


def test_links_that_lead_nowhere_are_left_out(folder):
    assert [path.parent.name for path in matches("data/*/md.xtc", folder)[1]] == ["a", "b"]


def test_nothing_found_is_said(folder):
    with pytest.raises(BadInput, match="matches no file"):
        find_files(["data/*.trr"], folder)
