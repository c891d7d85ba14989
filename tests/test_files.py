"""Files and folders are either whole or not there."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from utils import files
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


def write_folder(path: Path, content: str) -> None:
    with atomic_path(path) as temporary:
        temporary.mkdir()
        (temporary / "content").write_text(content)


def entries(folder: Path) -> dict[str, str]:
    return {file.relative_to(folder).as_posix(): file.read_text() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize("full", ["fsync", "replace"])
def test_a_disk_that_fails_leaves_the_old_folder_whole_and_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, full: str
) -> None:
    write_folder(tmp_path / "m", "old")
    whole = getattr(os, full)

    def fail(*arguments: Any) -> None:
        if full == "replace" and ".tmp" not in str(arguments[0]):  # the old folder can be moved, the new one cannot
            return whole(*arguments)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, full, fail)
    with pytest.raises(OSError, match="No space left"):
        write_folder(tmp_path / "m", "new")
    assert entries(tmp_path) == {"m/content": "old"}


# Replaces a folder and is killed at the n-th call that changes a name: the first moves the old folder aside.
KILLED = """
import os, signal, sys
from pathlib import Path
from tests.test_files import write_folder
rename, calls = os.replace, []
def replace(*names):
    calls.append(names)
    if len(calls) == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
    rename(*names)
os.replace = replace
write_folder(Path(sys.argv[1]), "new")
"""


@pytest.mark.parametrize("call", [1, 2])
def test_a_kill_between_two_renames_loses_neither_folder_and_the_next_write_clears_up(
    tmp_path: Path, call: int
) -> None:
    write_folder(tmp_path / "m", "old")
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "m"), str(call)], cwd=ROOT)
    assert killed.returncode == -signal.SIGKILL
    assert entries(tmp_path)[{1: "m/content", 2: ".m.old/content"}[call]] == "old"
    with pytest.raises(KeyboardInterrupt), atomic_path(tmp_path / "m"):
        raise KeyboardInterrupt
    assert entries(tmp_path / "m") == {"content": "old"}
    write_folder(tmp_path / "m", "new")
    assert entries(tmp_path / "m") == {"content": "new"}
    assert not (tmp_path / ".m.old").exists()


def test_an_old_folder_left_aside_by_a_killed_process_is_in_nobodys_way(tmp_path: Path) -> None:
    write_folder(tmp_path / ".m.old", "oldest")
    write_folder(tmp_path / "m", "old")
    write_folder(tmp_path / ".m.old", "oldest")
    write_folder(tmp_path / "m", "new")
    assert entries(tmp_path) == {"m/content": "new"}


def test_what_is_written_is_on_the_disk_before_it_takes_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[Any] = []
    sync, rename = os.fsync, os.replace
    monkeypatch.setattr(files.os, "fsync", lambda file: (order.append(os.fstat(file).st_ino), sync(file)))
    monkeypatch.setattr(files.os, "replace", lambda *names: (order.append("renamed"), rename(*names)))
    write_folder(tmp_path / "m", "new")
    written = [path.stat().st_ino for path in (tmp_path / "m", tmp_path / "m" / "content")]
    assert order == [*written, "renamed", tmp_path.stat().st_ino]


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
