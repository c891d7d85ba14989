"""Files and folders that are either whole or not there."""

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def repository_path(path: str | os.PathLike[str]) -> Path:
    """Return `path` as an absolute path; a relative one starts at the repository root."""
    return (ROOT / path).resolve()


def shown(path: Path) -> str:
    """Return a path as a person at the repository root would write it."""
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary sibling of `path` that takes its place when the block ends well.

    The caller writes a file or makes a folder there. On an exception (Ctrl-C too) it is removed and whatever
    stood at `path` stays as it was. What was written is on the disk before it takes its place, so a power cut leaves
    one of the two whole as well.

    A folder cannot be replaced in one step: the old one is first moved aside, to `.<name>.old` beside it, and removed
    when the new one is in place. A process killed between the two leaves it there, and the next write puts it back.

    Parameters
    ----------
    path : str or path-like
        The file or folder to write. Its parent folder is made.

    Raises
    ------
    FileNotFoundError
        The block ended without writing anything.
    OSError
        The disk is full or fails.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    _settle(path)
    remove(temporary)
    try:
        yield temporary
        if not temporary.exists():
            raise FileNotFoundError(f"nothing was written for {path}")
        _sync(temporary)
        if path.is_dir():
            os.replace(path, _aside(path))
        os.replace(temporary, path)
        _sync_entries(path.parent)
    finally:
        _settle(path)
        remove(temporary)


def _aside(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.old")


def _settle(path: Path) -> None:
    """Put back a folder that was moved aside for one that never came; remove it where the new one is in place."""
    if _aside(path).exists() and not path.exists():
        os.replace(_aside(path), path)
    remove(_aside(path))


def _sync(path: Path) -> None:
    """Wait until a file, or a folder with all that is in it, is on the disk."""
    for entry in [path, *path.rglob("*")]:
        if entry.is_dir():
            _sync_entries(entry)
        else:
            with entry.open("rb") as file:
                os.fsync(file.fileno())


def _sync_entries(folder: Path) -> None:
    """Wait until a folder's names are on the disk, where its file system can say so (a mounted drive may not)."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def sha256_of(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file, or of a folder's relative names and contents, as 64 hex digits."""
    path = Path(path)
    if path.is_dir():
        entries = sorted(file for file in path.rglob("*") if file.is_file())
        listing = "".join(f"{file.relative_to(path).as_posix()}\0{sha256_of(file)}\n" for file in entries)
        return hashlib.sha256(listing.encode()).hexdigest()
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def remove(path: Path) -> None:
    """Delete a file or a folder if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
