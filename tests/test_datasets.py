"""A dataset by name or path."""

import functools
import hashlib
import zipfile

import pytest

from utils import datasets
from utils.comments import CommentDataError
from utils.datasets import dataset_path, dataset_sha256, load_dataset
from utils.files import ROOT
from utils.movie_archive import ARCHIVE_NAME, raw_tree_id
from utils.movie_reviews import download_movie_reviews

REVIEWS = "(1,10,9,5,0,'좋다')\r\n(2,10,1,0,3,'  ')\n(3,10,1,0,3,'별로')\n(1,10,2,2,2,'같은 번호')"


@pytest.fixture
def downloads(tmp_path, monkeypatch):
    """An archive of four reviews in place of the real one, already downloaded; no server answers."""
    folder = tmp_path / "downloads"
    folder.mkdir()
    with zipfile.ZipFile(folder / ARCHIVE_NAME, "w") as archive:
        archive.writestr("top/raw/10.txt", REVIEWS)
    tree_id = raw_tree_id(folder / ARCHIVE_NAME)
    offline = functools.partial(download_movie_reviews, url="no url", tree_id=tree_id, progress=False)
    monkeypatch.setattr(datasets, "DOWNLOADS", folder)
    monkeypatch.setattr(datasets, "download_movie_reviews", offline)
    return folder


def test_the_sample_is_found_by_name():
    assert dataset_path("sample") == ROOT / "data" / "sample_comments.csv"


def test_a_relative_path_starts_at_the_repository_root(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert dataset_path("data/mine.csv") == ROOT / "data" / "mine.csv"
    assert dataset_path(tmp_path / "mine.csv") == tmp_path / "mine.csv"


def test_a_file_is_read_with_the_columns_asked_for(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("body_of_it,likes,dislikes\n글,3,4\n")
    assert load_dataset(path, columns={"text": "body_of_it"})["text"].tolist() == ["글"]
    assert dataset_sha256(path) == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("name", ["smaple", "Movie-Reviews", "no/such/file.csv"])
def test_a_name_that_is_neither_a_dataset_nor_a_file_says_what_there_is(name):
    with pytest.raises(
        CommentDataError, match=f"{name} does not exist: set DATASET to a file .*or to 'sample' or 'movie-reviews'"
    ):
        load_dataset(name)


def test_what_is_wrong_with_a_file_is_said_as_load_comments_says_it(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("text,likes,dislikes\n글,-3,4\n")
    with pytest.raises(CommentDataError, match=r"mine\.csv: column 'likes' is negative in 1 row, first at row 0"):
        load_dataset(path)


def test_what_was_put_right_in_a_file_is_reported(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("text,likes,dislikes,group\n글,3,4,a\n ,1,1,a\n")
    assert load_dataset(path).attrs["repairs"] == ["1 row without text left out"]


def test_movie_reviews_are_a_comments_table_without_blank_texts_and_repeated_ids(downloads):
    table = load_dataset("movie-reviews")
    assert list(table) == ["id", "text", "likes", "dislikes", "group", "rating"]
    assert table["id"].tolist() == ["1", "3"] and list(table.index) == [0, 1]
    repairs = ["1 row without text left out", "1 row with the id of an earlier row left out"]
    assert table.attrs["repairs"] == repairs


def test_the_file_behind_movie_reviews_is_the_archive(downloads):
    archive = downloads / ARCHIVE_NAME
    assert dataset_path("movie-reviews") == archive
    assert dataset_sha256("movie-reviews") == hashlib.sha256(archive.read_bytes()).hexdigest()


def test_offline_movie_reviews_say_what_to_do(downloads):
    (downloads / ARCHIVE_NAME).unlink()
    with pytest.raises(CommentDataError, match="Without a connection set DATASET = 'sample'"):
        load_dataset("movie-reviews")
    with pytest.raises(CommentDataError, match=r"does not exist: load_dataset\('movie-reviews'\) first"):
        dataset_sha256("movie-reviews")


def test_columns_for_movie_reviews_are_refused(downloads):
    with pytest.raises(CommentDataError, match="set COLUMNS = {}"):
        load_dataset("movie-reviews", columns={"group": "movie_id"})


def test_a_file_may_have_columns_that_notebook_01_computes(tmp_path):
    path = tmp_path / "labelled.csv"
    path.write_text("text,likes,dislikes,split,votes\n가,1,2,dev,9\n", encoding="utf-8")
    comments = load_dataset(path)
    assert comments[["split_given", "votes_given"]].values.tolist() == [["dev", 9]]
    assert not {"split", "votes"} & set(comments)
    assert "column 'split' is now 'split_given': notebook 01 computes its own split" in str(comments.attrs["repairs"])


def test_labels_of_a_file_stay_its_labels(tmp_path):
    path = tmp_path / "labelled.csv"
    path.write_text("text,label\n가,긍정\n나,부정\n", encoding="utf-8")
    assert load_dataset(path)["label"].tolist() == ["긍정", "부정"]
