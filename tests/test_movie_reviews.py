"""The archive of movie reviews: fetched from a server with faults, verified, and read record by record."""

import errno
import io
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from utils import movie_archive, movie_reviews
from utils.comments import CommentDataError
from utils.files import ROOT
from utils.movie_archive import ARCHIVE_NAME, raw_tree_id
from utils.movie_reviews import download_movie_reviews, read_movie_reviews

TOP = "movie140reviewcorpus-0123456"
SAMPLE = ROOT.parent / "shared" / "data" / "movie140_raw_sample.zip"
SAMPLE_TREE_ID = "acb7525ad813aa3b19f9d26f02c8fb98f934122c"
FILES = {"10-드라마.txt": "(1,10,9,5,0,'좋다')\r\n(2,10,1,0,3,'별로')", "20.txt": "(3,20,10,2,2,'그저\n그래')\n"}


def record(number, text, movie=10, rating=9, likes=1, dislikes=0):
    quoted = text.replace("'", "''")
    return f"({number},{movie},{rating},{likes},{dislikes},'{quoted}')"


def zip_bytes(files=FILES, top=TOP, extra=()):
    """An archive as GitHub packs it: one top folder with raw/ and other files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        members = {f"{top}/README.md": "about", f"{top}/raw/": ""} | {
            f"{top}/raw/{name}": files[name] for name in files
        }
        for name, content in (members | dict.fromkeys(extra, "x")).items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)  # always the same date
    return buffer.getvalue()


def archive_of(folder, files=FILES, **more):
    path = folder / "archive.zip"
    path.write_bytes(zip_bytes(files, **more))
    return path


# --- Tree id ---------------------------------------------------------------------------------------------------------


def test_the_tree_id_is_what_git_says(tmp_path):
    # printf '하나\n' > 10-드라마.txt; printf 'hello\n' > a.txt; git add .; git write-tree
    path = archive_of(tmp_path, {"a.txt": "hello\n", "10-드라마.txt": "하나\n"})
    assert raw_tree_id(path) == "3ecfeda53f2b0cd180ddcec0914825dcfddef9e2"


@pytest.mark.skipif(not shutil.which("git"), reason="git is not installed")
def test_the_tree_id_of_any_names_is_what_git_says(tmp_path):
    raw = tmp_path / "raw"
    raw.mkdir()
    for name in ("b.txt", "B.txt", "a b.txt", "a-b.txt", "10.txt", "10-가.txt", "1.txt", "가.txt"):
        (raw / name).write_text(name * 3)
    run = {"cwd": raw, "check": True, "capture_output": True}
    subprocess.run(["git", "init", "-q", "."], **run)
    subprocess.run(["git", "add", "."], **run)
    expected = subprocess.run(["git", "write-tree"], **run).stdout.decode().strip()
    shutil.rmtree(raw / ".git")
    assert raw_tree_id(raw) == expected


def test_how_files_are_packed_does_not_change_the_tree_id(tmp_path):
    original = raw_tree_id(archive_of(tmp_path))
    assert raw_tree_id(archive_of(tmp_path, dict(reversed(FILES.items())), top="renamed")) == original
    assert raw_tree_id(archive_of(tmp_path, FILES | {"20.txt": FILES["20.txt"] + " "})) != original
    with zipfile.ZipFile(archive_of(tmp_path)) as archive:
        archive.extractall(tmp_path / "unpacked")
    assert raw_tree_id(tmp_path / "unpacked" / TOP / "raw") == original


# --- Download --------------------------------------------------------------------------------------------------------


class FaultyServer(ThreadingHTTPServer):
    """Serves one archive; each request meets the next fault of the list, later ones none."""

    def __init__(self, content, faults=(), ranges=True):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.faults, self.ranges = content, list(faults), ranges
        self.asked = []  # the Range header of each request
        self.url = f"http://127.0.0.1:{self.server_port}/archive.zip"

    def handle_error(self, request, client_address):
        """A client that went away is part of the tests."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        server, asked = self.server, self.headers["Range"]
        server.asked.append(asked)
        fault = server.faults.pop(0) if server.faults else ""
        content = b"?" * len(server.content) if fault == "wrong bytes" else server.content
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and server.ranges else 0
        if isinstance(fault, int):
            self.send_error(fault)
        elif fault == "redirect":
            self.send_response(302)
            self.send_header("Location", server.url)
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif start >= len(content) > 0:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            self.send_content(content, start, fault)

    def send_content(self, content, start, fault):
        shift = 1 if fault == "wrong range" else 0
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start + shift}-{len(content) - 1}/{len(content)}")
        rest = content[start:]
        if fault == "cut chunks":  # as codeload.github.com sends: no length is known before the end
            self.send_header("Transfer-Encoding", "chunked")
        elif fault != "no length":
            self.send_header("Content-Length", str(len(rest)))
        self.send_header("Connection", "close")
        self.end_headers()
        if fault in ("cut", "no length"):
            self.wfile.write(rest[: len(rest) // 2])
        elif fault == "cut chunks":
            self.wfile.write(b"%x\r\n%s\r\n%x\r\n" % (len(rest) // 2, rest[: len(rest) // 2], len(rest)))
        elif fault == "slow":
            for place in range(0, len(rest), len(rest) // 20 + 1):
                self.wfile.write(rest[place : place + len(rest) // 20 + 1])
                self.wfile.flush()
                time.sleep(0.1)
        else:
            self.wfile.write(rest)
        self.close_connection = True

    def log_message(self, *args):
        """Keep quiet."""


@pytest.fixture
def serve(monkeypatch):
    monkeypatch.setattr(movie_archive, "FIRST_PAUSE_SECONDS", 0.0)
    servers = []

    def start(content, *faults, ranges=True):
        server = FaultyServer(content, faults, ranges)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """An archive of about 200 kB that does not compress, and its tree id."""
    noise = np.random.default_rng(0).integers(0, 10**9, 20_000)
    files = FILES | {"30.txt": record(7, " ".join(map(str, noise)), movie=30)}
    path = archive_of(tmp_path_factory.mktemp("packed"), files)
    return path.read_bytes(), raw_tree_id(path)


def visible(folder):
    return sorted(file.name for file in folder.iterdir() if not file.name.endswith(".lock"))


WHOLE = [ARCHIVE_NAME, f"{ARCHIVE_NAME}.verified.json"]


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize(
    ("faults", "requests"),
    [
        ([], 1),
        (["redirect"], 2),
        (["cut"], 2),
        (["cut", "cut", 503, "cut"], 5),
        (["cut chunks"], 2),
        (["no length"], 2),
        ([503, 429], 3),
        (["cut", "wrong range"], 3),
    ],
)
def test_faults_on_the_way_do_not_show_in_what_arrives(tmp_path, serve, packed, faults, requests, ranges):
    content, tree_id = packed
    server = serve(content, *faults, ranges=ranges)
    path = download_movie_reviews(tmp_path, url=server.url, tree_id=tree_id, progress=False)
    assert path == tmp_path / ARCHIVE_NAME and path.read_bytes() == content
    assert visible(tmp_path) == WHOLE
    assert len(server.asked) == requests - (not ranges and "wrong range" in faults)


def test_a_cut_download_is_taken_up_where_it_stopped(tmp_path, serve, packed):
    content, tree_id = packed
    server = serve(content, "cut")
    download_movie_reviews(tmp_path, url=server.url, tree_id=tree_id, progress=False)
    assert server.asked == [None, f"bytes={len(content) // 2}-"]


def test_what_an_earlier_call_left_is_used(tmp_path, serve, packed):
    content, tree_id = packed
    (tmp_path / f"{ARCHIVE_NAME}.part").write_bytes(content[:1000])
    server = serve(content)
    path = download_movie_reviews(tmp_path, url=server.url, tree_id=tree_id, progress=False)
    assert server.asked == ["bytes=1000-"] and path.read_bytes() == content


@pytest.mark.parametrize("left", ["the whole file", "too much", "other bytes"])
def test_what_an_earlier_call_left_does_no_harm(tmp_path, serve, packed, left):
    content, tree_id = packed
    leftover = {"the whole file": content, "too much": content + b"x", "other bytes": b"x" * 1000}[left]
    (tmp_path / f"{ARCHIVE_NAME}.part").write_bytes(leftover)
    path = download_movie_reviews(tmp_path, url=serve(content).url, tree_id=tree_id, progress=False)
    assert path.read_bytes() == content and visible(tmp_path) == WHOLE


def test_a_second_call_asks_the_server_nothing(tmp_path, serve, packed):
    content, tree_id = packed
    server = serve(content)
    first = download_movie_reviews(tmp_path, url=server.url, tree_id=tree_id, progress=False)
    assert download_movie_reviews(tmp_path, url=server.url, tree_id=tree_id, progress=False) == first
    assert len(server.asked) == 1


def test_an_archive_put_there_by_hand_is_verified_and_used(tmp_path, packed):
    content, tree_id = packed
    (tmp_path / ARCHIVE_NAME).write_bytes(content)
    path = download_movie_reviews(tmp_path, url="http://127.0.0.1:9/", tree_id=tree_id, progress=False)
    assert path.read_bytes() == content


@pytest.mark.parametrize("damage", ["shorter", "one byte", "nothing"])
def test_a_damaged_archive_is_fetched_again(tmp_path, serve, packed, damage):
    content, tree_id = packed
    server = serve(content)
    path = download_movie_reviews(tmp_path, url=server.url, tree_id=tree_id, progress=False)
    middle = len(content) // 2
    one_byte = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    path.write_bytes({"shorter": content[:-100], "one byte": one_byte, "nothing": b""}[damage])
    download_movie_reviews(tmp_path, url=server.url, tree_id=tree_id, progress=False)
    assert path.read_bytes() == content and len(server.asked) == 2


WRONG = {
    "no zip": (b"<html>sign in</html>", "not a whole zip"),
    "nothing": (b"", "not a whole zip"),
    "half a zip": (zip_bytes()[:-50], "not a whole zip"),
    "no raw folder": (zip_bytes({}), "no files in raw/"),
    "other reviews": (zip_bytes({"10.txt": "(1,10,9,5,0,'x')"}), "the git tree id of raw/ is"),
    "a file more": (zip_bytes(FILES | {"30.txt": ""}), "the git tree id of raw/ is"),
    "a way out": (zip_bytes(extra=["../evil.txt"]), "points outside"),
    "a way out within": (zip_bytes(extra=[f"{TOP}/raw/../../../evil.txt"]), "points outside"),
    "an absolute name": (zip_bytes(extra=["/etc/evil.txt"]), "points outside"),
    "a Windows name": (zip_bytes(extra=["C:/evil.txt"]), "points outside"),
    "backslashes": (zip_bytes(extra=["..\\evil.txt"]), "points outside"),
    "a folder in raw": (zip_bytes(extra=[f"{TOP}/raw/more/10.txt"]), "does not belong into raw/"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_content_is_refused_and_not_kept(tmp_path, serve, case, packed):
    content, words = WRONG[case]
    folder = tmp_path / "inner" / "downloads"
    server = serve(content)
    with pytest.raises(CommentDataError, match=words) as error:
        download_movie_reviews(folder, url=server.url, tree_id=packed[1], progress=False)
    assert server.url in str(error.value) and str(folder / ARCHIVE_NAME) in str(error.value)
    assert visible(folder) == [] and not list(tmp_path.rglob("evil*"))


def test_the_default_tree_id_refuses_any_other_archive(tmp_path, serve):
    with pytest.raises(CommentDataError, match="not 9768820c0f723f80b36d822889e8bc1b43943417"):
        download_movie_reviews(tmp_path, url=serve(zip_bytes()).url, progress=False)


def test_wrong_bytes_are_asked_for_once_more_and_no_oftener(tmp_path, serve, packed):
    content, tree_id = packed
    server = serve(content, "wrong bytes", "wrong bytes", "wrong bytes")
    with pytest.raises(CommentDataError, match="nothing was kept"):
        download_movie_reviews(tmp_path, url=server.url, tree_id=tree_id, progress=False)
    assert len(server.asked) == 2
    assert download_movie_reviews(tmp_path, url=server.url, tree_id=tree_id, progress=False).read_bytes() == content


@pytest.mark.parametrize(("faults", "requests"), [([404], 1), ([403], 1), ([503] * 9, 5), (["cut"] * 9, 5)])
def test_a_server_without_the_archive_is_an_error_that_names_the_way_out(tmp_path, serve, packed, faults, requests):
    server = serve(packed[0], *faults, ranges=False)
    with pytest.raises(CommentDataError, match="set DATASET = 'sample'") as error:
        download_movie_reviews(tmp_path, url=server.url, tree_id=packed[1], progress=False)
    assert server.url in str(error.value) and str(tmp_path / ARCHIVE_NAME) in str(error.value)
    assert len(server.asked) == requests and not (tmp_path / ARCHIVE_NAME).exists()


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:9/a.zip", "http://no-such-host.invalid/a.zip", "no url", "http://[/"]
)
def test_without_a_connection_it_says_what_to_do(tmp_path, monkeypatch, url):
    monkeypatch.setattr(movie_archive, "FIRST_PAUSE_SECONDS", 0.0)
    with pytest.raises(CommentDataError, match="Without a connection set DATASET = 'sample'"):
        download_movie_reviews(tmp_path, url=url, progress=False)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_leaves_no_half_file(tmp_path, serve, packed, monkeypatch, code):
    def fill(response, stream, bar):
        stream.write(response.read(1000))
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(movie_archive, "_copy", fill)
    with pytest.raises(CommentDataError, match="cannot be written .* free space"):
        download_movie_reviews(tmp_path, url=serve(packed[0]).url, tree_id=packed[1], progress=False)
    assert visible(tmp_path) == []


def test_a_folder_that_is_a_file_is_an_error(tmp_path):
    (tmp_path / "taken").write_text("x")
    with pytest.raises(CommentDataError, match="cannot be written"):
        download_movie_reviews(tmp_path / "taken", progress=False)


def test_the_progress_bar_goes_to_standard_output_in_few_lines(tmp_path, serve, packed, capsys):
    download_movie_reviews(tmp_path, url=serve(packed[0]).url, tree_id=packed[1])
    printed = capsys.readouterr()
    assert "movie reviews: 100%" in printed.out and printed.err == ""
    assert printed.out.count("\r") + printed.out.count("\n") <= 4


DOWNLOAD = """
import sys
from utils.comments import CommentDataError
from utils.movie_reviews import download_movie_reviews
try:
    print(download_movie_reviews(sys.argv[1], url=sys.argv[2], tree_id=sys.argv[3], progress=False))
except CommentDataError as error:
    print("refused:", error)
"""


def start_download(folder, url, tree_id, **more):
    command = [sys.executable, "-c", DOWNLOAD, str(folder), url, tree_id]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, **more)


def test_of_two_processes_at_once_one_downloads_and_both_have_it(tmp_path, serve, packed):
    server = serve(packed[0], "slow", "slow")
    processes = [start_download(tmp_path, server.url, packed[1]) for _ in range(2)]
    printed = [process.communicate(timeout=60)[0].splitlines() for process in processes]
    assert [lines[-1] for lines in printed] == [str(tmp_path / ARCHIVE_NAME)] * 2
    assert len(server.asked) == 1 and visible(tmp_path) == WHOLE


def test_a_killed_process_leaves_what_the_next_one_takes_up(tmp_path, serve, packed, monkeypatch):
    content, tree_id = packed
    server = serve(content, "slow")
    process = start_download(tmp_path, server.url, tree_id)
    part = tmp_path / f"{ARCHIVE_NAME}.part"
    deadline = time.monotonic() + 60
    while not (part.exists() and part.stat().st_size) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    left = part.stat().st_size
    path = download_movie_reviews(tmp_path, url=server.url, tree_id=tree_id, progress=False)
    assert 0 < left < len(content) and server.asked[1] == f"bytes={left}-" and path.read_bytes() == content


def test_a_disk_that_really_fills_up_leaves_no_half_file(tmp_path, serve, packed):
    def allow_50_kb():
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))

    process = start_download(tmp_path, serve(packed[0]).url, packed[1], preexec_fn=allow_50_kb)
    printed = process.communicate(timeout=60)[0]
    assert printed.startswith("refused:") and "cannot be written" in printed and visible(tmp_path) == []


# --- Reading ---------------------------------------------------------------------------------------------------------


def test_every_field_of_a_record_is_in_its_column(tmp_path):
    table = read_movie_reviews(archive_of(tmp_path))
    assert list(table) == ["id", "text", "likes", "dislikes", "group", "rating"]
    assert table["id"].tolist() == ["1", "2", "3"] and table["group"].tolist() == ["10", "10", "20"]
    assert table["rating"].tolist() == [9, 1, 10]
    assert table["likes"].tolist() == [5, 0, 2] and table["dislikes"].tolist() == [0, 3, 2]
    assert table["text"].tolist() == ["좋다", "별로", "그저\n그래"]
    assert all(table[name].dtype == np.int64 for name in ("likes", "dislikes", "rating"))
    assert table.attrs["repairs"] == []


TEXTS = {
    "quotes": "''인용'' '",
    "quote at the end": "끝'",
    "only a quote": "'",
    "empty": "",
    "line breaks": "\n\r\n\r끝\n",
    "like a record": "끝')\n(9,9,9,9,9,'x",
    "comma and parentheses": "(1,2,3,4,5,'x')",
    "NUL and mark": "\0\ufeff",
    "emoji": "👍🏽",
}


@pytest.mark.parametrize("case", TEXTS)
def test_a_text_comes_through_whole(tmp_path, case):
    content = "\n".join([record(1, "앞"), record(2, TEXTS[case]), record(3, "뒤")])
    table = read_movie_reviews(archive_of(tmp_path, {"10.txt": content}))
    assert table["text"].tolist() == ["앞", TEXTS[case], "뒤"]


GAPS = {
    "a quote that is not doubled": "(1,10,9,5,0,'it's')\n(2,10,9,5,0,'x')",
    "a record cut short": "(1,10,9,5,0,'x')\n(2,10,9,5,0,'y",
    "a field too few": "(1,10,9,5,'x')\n(2,10,9,5,0,'x')",
    "a negative count": "(1,10,9,-5,0,'x')",
    "a word for a number": "(1,10,nine,5,0,'x')",
    "a number of 30 digits": f"({'9' * 30},10,9,5,0,'x')",
    "text between records": "(1,10,9,5,0,'x')\nhello\n(2,10,9,5,0,'x')",
    "two records on a line": "(1,10,9,5,0,'x')(2,10,9,5,0,'x')",
    "a web page": "<html>",
}


@pytest.mark.parametrize("case", GAPS)
def test_what_is_not_a_record_is_an_error_that_names_the_file(tmp_path, case):
    with pytest.raises(CommentDataError, match=r"77-액션\.txt.*download"):
        read_movie_reviews(archive_of(tmp_path, FILES | {"77-액션.txt": GAPS[case]}))
    assert not list(tmp_path.glob("*.parquet"))


def test_bytes_that_are_not_utf8_are_replaced_and_reported_with_the_file(tmp_path):
    path = archive_of(tmp_path, FILES | {"77.txt": b"(7,77,1,2,3,'\xffx')"})
    for _ in range(2):  # parsed, then from the cache
        table = read_movie_reviews(path)
        assert table["text"].tolist()[-1] == "\ufffdx"
        assert len(table.attrs["repairs"]) == 1 and "77.txt" in table.attrs["repairs"][0]


def test_an_unpacked_folder_gives_the_same_table_and_cache(tmp_path):
    path = archive_of(tmp_path)
    with zipfile.ZipFile(path) as archive:
        archive.extractall(tmp_path)
    raw = tmp_path / TOP / "raw"
    pd.testing.assert_frame_equal(read_movie_reviews(raw), read_movie_reviews(path))
    (beside_archive,), (beside_raw,) = tmp_path.glob("*.parquet"), raw.parent.glob("*.parquet")
    assert beside_archive.name == beside_raw.name and raw_tree_id(path) in beside_raw.name


def test_the_second_reading_is_from_the_cache_and_the_same(tmp_path, monkeypatch):
    path = archive_of(tmp_path)
    first = read_movie_reviews(path)
    monkeypatch.setattr(movie_reviews, "_parsed", lambda path: pytest.fail("parsed again"))
    pd.testing.assert_frame_equal(read_movie_reviews(path), first)


def test_a_changed_archive_is_not_read_from_the_old_cache(tmp_path):
    read_movie_reviews(archive_of(tmp_path))
    table = read_movie_reviews(archive_of(tmp_path, {"10.txt": record(8, "다른 글")}))
    assert table["id"].tolist() == ["8"]


@pytest.mark.parametrize("damage", [b"", b"PAR1", None])
def test_a_damaged_cache_is_made_anew(tmp_path, damage):
    path = archive_of(tmp_path)
    first = read_movie_reviews(path)
    (cache,) = tmp_path.glob("*.parquet")
    whole = cache.read_bytes()
    cache.write_bytes(whole[: len(whole) // 2] if damage is None else damage)
    pd.testing.assert_frame_equal(read_movie_reviews(path), first)
    pd.testing.assert_frame_equal(pd.read_parquet(cache), first)


def test_where_no_cache_can_be_written_reading_works_all_the_same(tmp_path, monkeypatch, capsys):
    def full(table, path, **options):
        Path(path).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(movie_reviews.pq, "write_table", full)
    assert len(read_movie_reviews(archive_of(tmp_path))) == 3
    assert "No space left" in capsys.readouterr().out and os.listdir(tmp_path) == ["archive.zip"]


def test_files_in_batches_come_out_as_one_table(tmp_path, monkeypatch):
    files = {f"{movie}.txt": record(movie, "x", movie) + "\n" + record(100 + movie, "y", movie) for movie in range(9)}
    monkeypatch.setattr(movie_reviews, "BATCH_BYTES", 60)
    table = read_movie_reviews(archive_of(tmp_path, files))
    assert table["id"].tolist() == [str(number) for movie in range(9) for number in (movie, 100 + movie)]


def test_what_is_no_archive_is_refused_by_name(tmp_path):
    (tmp_path / "half.zip").write_bytes(zip_bytes()[:-50])
    (tmp_path / "empty").mkdir()
    (tmp_path / "nothing.zip").write_bytes(zip_bytes({"a.txt": ""}))
    cases = {"absent.zip": "does not exist", "half.zip": "whole zip", "empty": "no .txt files", "nothing.zip": "no rev"}
    for name, words in cases.items():
        with pytest.raises(CommentDataError, match=f"{name}.* {words}"):
            read_movie_reviews(tmp_path / name)


@pytest.mark.parametrize("name", ["../evil.txt", f"{TOP}/raw/../../evil.txt", "/etc/evil.txt", "C:/evil.txt"])
def test_an_archive_with_a_name_that_points_outside_is_not_read(tmp_path, name):
    with pytest.raises(CommentDataError, match=r"archive\.zip: the zip has a file named .* points outside: do not use"):
        read_movie_reviews(archive_of(tmp_path, extra=[name]))
    assert os.listdir(tmp_path) == ["archive.zip"]


def test_a_zip_that_would_unpack_to_far_too_much_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(movie_archive, "LARGEST_RAW_BYTES", 10)
    with pytest.raises(CommentDataError, match="would unpack to more than"):
        read_movie_reviews(archive_of(tmp_path))


@pytest.mark.skipif(not SAMPLE.exists(), reason="../shared/data/movie140_raw_sample.zip is not here")
def test_the_real_files_are_verified_and_read_to_the_last_record(tmp_path, serve):
    server = serve(SAMPLE.read_bytes(), "cut")
    path = download_movie_reviews(tmp_path, url=server.url, tree_id=SAMPLE_TREE_ID, progress=False)
    table = read_movie_reviews(path)
    assert len(table) == 157_063 and table["id"].is_unique and table["group"].nunique() == 420
    assert table["rating"].between(1, 10).all() and (table[["likes", "dislikes"]] >= 0).all(axis=None)
    pd.testing.assert_frame_equal(read_movie_reviews(path), table)


# --- Laws, for any input ---------------------------------------------------------------------------------------------

ANY_TEXT = st.text(st.characters(codec="utf-8") | st.sampled_from("',()\r\n\0"), max_size=12)
RECORDS = st.tuples(st.integers(0, 10**18 - 1), ANY_TEXT, *[st.integers(0, 10**9 - 1)] * 4)
PIECES = st.sampled_from([b"(1,2,3,4,5,'", b"')", b"\n", b"\r\n", b"''", b"'", b"(", b"x", b"\xff", b"\xef\xbb\xbf"])
CONTENTS = st.lists(PIECES | st.binary(max_size=4), max_size=8).map(b"".join) | st.lists(RECORDS, max_size=3).map(
    lambda records: "\n".join(record(*values) for values in records).encode()
)
ARCHIVES = st.dictionaries(st.sampled_from(["1.txt", "가.txt", "2-x.txt", "note"]), CONTENTS, max_size=3).map(zip_bytes)
SETTINGS = {"deadline": None, "suppress_health_check": list(HealthCheck), "derandomize": True}


@st.composite
def damaged_archives(draw):
    content = bytearray(draw(ARCHIVES))
    for place in draw(st.lists(st.integers(0, len(content) - 1), max_size=3)):
        content[place] = draw(st.integers(0, 255))
    return bytes(content[: draw(st.integers(0, len(content)))]) if draw(st.booleans()) else bytes(content)


def _read_bytes(folder, content):
    path = folder / "fuzzed.zip"
    path.write_bytes(content)
    with mock.patch.object(movie_reviews, "_keep"):
        return read_movie_reviews(path)


@settings(max_examples=200, **SETTINGS)
@given(st.lists(RECORDS, min_size=1, max_size=5), st.sampled_from(["\n", "\r\n"]))
def test_what_is_written_as_records_is_read_back(tmp_path_factory, records, end):
    content = zip_bytes({"1.txt": end.join(record(*values) for values in records)})
    table = _read_bytes(tmp_path_factory.getbasetemp(), content)
    names = ["id", "text", "group", "rating", "likes", "dislikes"]
    expected = [(str(number), text, str(movie), *counts) for number, text, movie, *counts in records]
    assert list(table[names].itertuples(index=False, name=None)) == expected


def _is_a_table_or_a_comment_data_error(folder, content):
    try:
        table = _read_bytes(folder, content)
    except CommentDataError as error:
        assert "fuzzed.zip" in str(error)
        return
    assert len(table) and (table[["likes", "dislikes", "rating"]] >= 0).all(axis=None)


@settings(max_examples=2_000, **SETTINGS)
@given(ARCHIVES | damaged_archives())
def test_any_archive_gives_a_table_or_a_comment_data_error(tmp_path_factory, content):
    _is_a_table_or_a_comment_data_error(tmp_path_factory.getbasetemp(), content)


@pytest.mark.long
@settings(max_examples=100_000, **SETTINGS | {"derandomize": False})
@given(ARCHIVES | damaged_archives())
def test_any_of_very_many_archives_gives_a_table_or_a_comment_data_error(tmp_path_factory, content):
    _is_a_table_or_a_comment_data_error(tmp_path_factory.getbasetemp(), content)
