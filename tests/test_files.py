"""Files and folders are either whole or not there."""

from pathlib import Path

import pytest

from utils.files import ROOT, atomic_path, repository_path, sha256_of


def test_a_write_that_fails_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("a.json", "old")]


def test_a_folder_takes_the_place_of_the_old_one_whole(tmp_path: Path) -> None:
    for content in ("first", "second"):
        with atomic_path(tmp_path / "models" / "m") as temporary:
            temporary.mkdir()
            (temporary / content).write_text(content)
    assert [file.name for file in (tmp_path / "models" / "m").iterdir()] == ["second"]


def test_writing_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nothing was written"), atomic_path(tmp_path / "a"):
        pass


def test_hash_of_a_folder_changes_with_a_name_and_with_a_byte(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    first = sha256_of(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    renamed = sha256_of(tmp_path)
    (tmp_path / "b").write_text("2")
    assert len({first, renamed, sha256_of(tmp_path)}) == 3


def test_relative_paths_start_at_the_repository_root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert repository_path("runs/sample") == ROOT / "runs" / "sample"
    assert repository_path(tmp_path) == tmp_path.resolve()
