"""The public archive of movie reviews: fetched once, and trusted only when git's tree id of its content fits."""

import errno
import hashlib
import http.client
import json
import lzma
import os
import re
import struct
import sys
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any

from filelock import FileLock, Timeout
from tqdm import tqdm

from utils.comment_files import CommentDataError
from utils.files import atomic_path

COMMIT = "be2f83388625ffbc34110a7c185ee95ddc5aac1d"
URL = f"https://github.com/drexly/movie140reviewcorpus/archive/{COMMIT}.zip"
ARCHIVE_NAME = f"movie140reviewcorpus-{COMMIT}.zip"
RAW_TREE_ID = "9768820c0f723f80b36d822889e8bc1b43943417"
"""Git's id of `raw/` at that commit: it stands for every file's name and content, whatever way they were packed."""

ATTEMPTS = 5
FIRST_PAUSE_SECONDS = 1.0
TIMEOUT_SECONDS = 30.0
CHUNK_BYTES = 1 << 18
LARGEST_RAW_BYTES = 4 << 30

_BAD_ZIP = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, OSError),
    *(ValueError, IndexError, NotImplementedError, RuntimeError, OverflowError, MemoryError),
)


def download_movie_reviews(
    folder: str | os.PathLike[str], *, url: str = URL, progress: bool = True, tree_id: str = RAW_TREE_ID
) -> Path:
    """Fetch the archive of reviews into `folder` unless it is there already, and verify what came.

    A cut connection is taken up where it stopped if the server can, else from the beginning; what an interrupted
    call left is used by the next. Several processes may call at once: one downloads, the others wait. The archive
    gets its name only after its `raw/` has been found to be what git's tree id says.

    Parameters
    ----------
    folder : str or path-like
        Made if needed. An archive that was put there by hand as `movie140reviewcorpus-<commit>.zip` is verified
        and used.
    url : str
        Of the archive as a .zip.
    progress : bool
        Show a progress bar, on standard output, one line now and then where that is no terminal.
    tree_id : str
        Git tree id that `raw/` in the archive must have, 40 hex digits.

    Returns
    -------
    Path
        The archive.

    Raises
    ------
    CommentDataError
        No connection, no such page, a full disk, or content that is not what it should be.
    """
    folder = Path(folder).resolve()
    archive = folder / ARCHIVE_NAME
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _one_process_at_a_time(folder / f".{ARCHIVE_NAME}.lock"):
            if not _is_verified(archive, tree_id):
                _fetch_verified(url, archive, tree_id, progress)
    except OSError as error:
        raise _cannot_write(folder, error) from error
    return archive


class TreeId:
    """Git's id of a flat folder of files, without git.

    SHA-1 of each file as a git blob, then of the sorted listing as a git tree (Chacon and Straub, Pro Git, section
    10.2), with every mode taken as 100644, since packing and unpacking may change modes.
    """

    def __init__(self) -> None:
        self._entries: dict[bytes, bytes] = {}

    def add(self, name: str, content: bytes) -> None:
        """Take in a file."""
        blob = hashlib.sha1(b"blob %d\0" % len(content) + content)
        self._entries[name.encode("utf-8", "surrogateescape")] = blob.digest()

    def hexdigest(self) -> str:
        """Return the id of the files so far, 40 hex digits."""
        listing = b"".join(b"100644 " + name + b"\0" + blob for name, blob in sorted(self._entries.items()))
        return hashlib.sha1(b"tree %d\0" % len(listing) + listing).hexdigest()


def raw_tree_id(path: str | os.PathLike[str]) -> str:
    """Return git's tree id of the folder `raw/` in an archive, or of an unpacked one.

    Raises
    ------
    CommentDataError
        The archive is missing, damaged or holds names that point outside.
    """
    tree = TreeId()
    for name, content in raw_files(Path(path)):
        tree.add(name, content)
    return tree.hexdigest()


def raw_files(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of each file in `raw/`, in the order of names."""
    if path.is_dir():
        yield from _folder_files(path)
        return
    try:
        with zipfile.ZipFile(path) as archive:
            for name, member in _members(archive, path):
                yield name, archive.read(member)
    except CommentDataError:
        raise
    except FileNotFoundError as error:
        raise CommentDataError(f"{path} does not exist: download it with download_movie_reviews") from error
    except _BAD_ZIP as error:
        raise CommentDataError(f"{path} is not a whole zip ({error}): delete it and download it again") from error


def _folder_files(folder: Path) -> Iterator[tuple[str, bytes]]:
    files = sorted(folder.iterdir())
    if not any(file.suffix == ".txt" and file.is_file() for file in files):
        raise CommentDataError(f"{folder} has no .txt files: name the archive's raw/ folder, or the .zip itself")
    for file in files:
        if not file.is_file() or file.is_symlink():
            raise CommentDataError(f"{file} is not a plain file: raw/ holds nothing else; unpack the archive again")
        yield file.name, file.read_bytes()


def _members(archive: zipfile.ZipFile, path: Path) -> list[tuple[str, zipfile.ZipInfo]]:
    """Return name below `raw/` and entry of each file there; nothing is ever written by the names in a zip."""
    found: dict[str, zipfile.ZipInfo] = {}
    for member in archive.infolist():
        name = _member_name(member)
        parts = PurePosixPath(name).parts
        if name.startswith("/") or ".." in parts or "\\" in name or re.match("[A-Za-z]:", name):
            raise CommentDataError(
                f"{path}: the zip has a file named {name!r:.200}, which points outside: do not use it"
            )
        if name.endswith("/") or len(parts) < 2 or "raw" not in parts[:2]:
            continue
        below = "/".join(parts[parts.index("raw") + 1 :])
        if "/" in below or below in found:
            raise CommentDataError(f"{path}: {name!r:.200} does not belong into raw/: download the archive again")
        found[below] = member
    if not found:
        raise CommentDataError(f"{path} has no files in raw/: download the archive again")
    if sum(member.file_size for member in found.values()) > LARGEST_RAW_BYTES:
        raise CommentDataError(f"{path} would unpack to more than {LARGEST_RAW_BYTES >> 30} GiB: do not use it")
    return sorted(found.items())


def _member_name(member: zipfile.ZipInfo) -> str:
    """Return the name as packed; without the UTF-8 flag Python takes the bytes for cp437."""
    if member.flag_bits & 0x800:
        return member.filename
    return member.orig_filename.encode("cp437", "replace").decode("utf-8", "surrogateescape")


@contextmanager
def _one_process_at_a_time(path: Path) -> Iterator[None]:
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print("another process is downloading the movie reviews: waiting for it", flush=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _fetch_verified(url: str, archive: Path, tree_id: str, progress: bool) -> None:
    """Fetch, verify, and give the archive its name; what came in pieces or in error is fetched whole once more."""
    part = archive.with_name(archive.name + ".part")
    for last in (False, True):
        _fetch(url, part, archive, progress)
        problem = _problem(part, tree_id)
        if problem is None:
            break
        part.unlink()
        if last:
            raise CommentDataError(
                f"what {url} sent is not the archive of movie reviews ({problem}); nothing was kept: try again, or "
                f"fetch {URL} with a browser and save it as {archive}"
            )
    os.replace(part, archive)
    _stamp(archive, tree_id)


def _problem(archive: Path, tree_id: str) -> str | None:
    try:
        found = raw_tree_id(archive)
    except CommentDataError as error:
        return str(error)
    return None if found == tree_id else f"the git tree id of raw/ is {found}, not {tree_id}"


def _fetch(url: str, part: Path, archive: Path, progress: bool) -> None:
    """Bring the file at `url` to `part`, in several attempts."""
    for attempt in range(ATTEMPTS):
        try:
            return _fetch_once(url, part, progress)
        except urllib.error.HTTPError as error:
            problem: Exception = error
            if error.code < 500 and error.code not in (408, 429):
                break
        except ValueError as error:  # not a URL
            problem = error
            break
        except OSError as error:
            if _is_about_the_disk(error):
                part.unlink(missing_ok=True)
                raise
            problem = error
        except http.client.HTTPException as error:
            problem = error
        if attempt + 1 < ATTEMPTS:
            time.sleep(FIRST_PAUSE_SECONDS * 2**attempt)
    raise CommentDataError(
        f"the movie reviews cannot be downloaded from {url} ({problem}). Without a connection set DATASET = 'sample', "
        f"or fetch {URL} on another machine and save it as {archive}"
    ) from problem


def _fetch_once(url: str, part: Path, progress: bool) -> None:
    """Append what `part` lacks, or write it anew where the server sends no ranges."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "kcbert-controversial-comments"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        # 416: nothing is left to send, as the file is whole already or is not the one the server has.
        if error.code == 416 and error.headers.get("Content-Range") == f"bytes */{have}":
            return
        if error.code == 416:
            part.unlink()
            raise ConnectionError("the server has another file than the one begun") from error
        raise
    with response:
        appends = response.status == 206
        if appends and not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            part.unlink()
            raise ConnectionError("the server sent another range than the one asked for")
        start = have if appends else 0
        length = response.headers.get("Content-Length", "")
        expected = start + int(length) if length.isdecimal() else None
        with part.open("ab" if appends else "wb") as stream, _bar(expected, start, progress) as bar:
            _copy(response, stream, bar)
    received = part.stat().st_size
    if expected is not None and received < expected:
        raise ConnectionError(f"the connection was cut after {received:,} of {expected:,} bytes")


def _copy(response: http.client.HTTPResponse, stream: IO[bytes], bar: tqdm) -> None:
    while chunk := response.read1(CHUNK_BYTES):  # what is there, so that a killed process leaves it
        stream.write(chunk)
        bar.update(len(chunk))
    stream.flush()
    os.fsync(stream.fileno())


def _bar(total: int | None, start: int, progress: bool) -> tqdm:
    pause = 0.2 if sys.stdout.isatty() else 10.0
    options: dict[str, Any] = {"unit": "B", "unit_scale": True, "mininterval": pause, "file": sys.stdout}
    return tqdm(total=total, initial=start, desc="movie reviews", disable=not progress, **options)


def _is_about_the_disk(error: OSError) -> bool:
    return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM)


def _cannot_write(folder: Path, error: OSError) -> CommentDataError:
    return CommentDataError(
        f"{folder} cannot be written ({error.strerror or error}): the archive needs about 0.5 GB there and its table "
        "1 GB more; free space or permissions, then run again"
    )


# A stamp beside the archive spares hashing a gigabyte each time; a changed size or time makes it void.


def _stamp(archive: Path, tree_id: str) -> None:
    stat = archive.stat()
    with atomic_path(_stamp_path(archive)) as path:
        path.write_text(json.dumps({"bytes": stat.st_size, "modified_ns": stat.st_mtime_ns, "raw_tree_id": tree_id}))


def _stamp_path(archive: Path) -> Path:
    return archive.with_name(archive.name + ".verified.json")


def stamped_tree_id(archive: Path) -> str | None:
    """Return the tree id that the archive was found to have, None if it was never verified or has changed since."""
    try:
        stamp = json.loads(_stamp_path(archive).read_text())
        stat = archive.stat()
        fits = (stamp["bytes"], stamp["modified_ns"]) == (stat.st_size, stat.st_mtime_ns)
        return str(stamp["raw_tree_id"]) if fits else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _is_verified(archive: Path, tree_id: str) -> bool:
    if not archive.exists():
        return False
    if stamped_tree_id(archive) == tree_id:
        return True
    if _problem(archive, tree_id):
        return False
    _stamp(archive, tree_id)
    return True
