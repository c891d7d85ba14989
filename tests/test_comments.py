"""Reading a file of comments: what is found, what is put right, what is refused."""

import gzip
import html
import io
import json
import unicodedata
from csv import DictWriter

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from utils.comments import ALIASES, CommentDataError, comment_ids, load_comments

ROWS = [{"text": "좋은 글", "likes": 3, "dislikes": 4}, {"text": "나쁜 글", "likes": 0, "dislikes": 7}]


def written(tmp_path, content, name="comments.csv"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def csv(*rows, header="text,likes,dislikes"):
    return "\n".join((header, *rows)) + "\n"


def parquet_bytes(table):
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False) if isinstance(table, pd.DataFrame) else pq.write_table(table, buffer)
    return buffer.getvalue()


def nested(depth):
    return "[" * depth + "]" * depth


# --- Formats and encodings -------------------------------------------------------------------------------------------

FORMATS = {
    "comments.csv": lambda frame: frame.to_csv(index=False).encode(),
    "comments.tsv": lambda frame: frame.to_csv(index=False, sep="\t").encode(),
    "comments.parquet": parquet_bytes,
    "comments.json": lambda frame: frame.to_json(orient="records").encode(),
    "by_column.json": lambda frame: frame.to_json().encode(),
    "lists.json": lambda frame: json.dumps(frame.to_dict("list")).encode(),
    "below_a_name.json": lambda frame: json.dumps({"count": 2, "comments": frame.to_dict("records")}).encode(),
    "comments.jsonl": lambda frame: frame.to_json(orient="records", lines=True).encode(),
    "comments.csv.gz": lambda frame: gzip.compress(frame.to_csv(index=False).encode()),
    "comments.parquet.gz": lambda frame: gzip.compress(parquet_bytes(frame)),
    "packed_without_saying.csv": lambda frame: gzip.compress(frame.to_csv(index=False).encode()),
    "UPPER.CSV": lambda frame: frame.to_csv(index=False).encode(),
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_table(tmp_path, name):
    frame = pd.DataFrame(ROWS).assign(group=["a", "b"], rating=[1, 10], when=["2020-01-01", "2020-01-02"])
    table = load_comments(written(tmp_path, FORMATS[name](frame), name))
    assert list(table) == ["id", "text", "likes", "dislikes", "group", "rating", "when"]
    assert table["text"].tolist() == ["좋은 글", "나쁜 글"]
    assert table["likes"].tolist() == [3, 0] and table["likes"].dtype == np.int64
    assert table["dislikes"].tolist() == [4, 7] and table["dislikes"].dtype == np.int64
    assert table["group"].tolist() == ["a", "b"]
    assert table["rating"].tolist() == [1, 10] and table["rating"].dtype.kind == "i"
    assert table["when"].tolist() == ["2020-01-01", "2020-01-02"]
    assert table.attrs["repairs"] == []


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "cp949"])
@pytest.mark.parametrize("name", ["comments.csv", "comments.json"])
def test_the_encoding_is_found(tmp_path, encoding, name):
    content = csv("글,3,4") if name.endswith("csv") else json.dumps([{**ROWS[0], "text": "글"}], ensure_ascii=False)
    table = load_comments(written(tmp_path, content.encode(encoding), name))
    assert table["text"].tolist() == ["글"]
    assert any("cp949" in line for line in table.attrs["repairs"]) == (encoding == "cp949")


def test_a_named_encoding_is_used(tmp_path):
    path = written(tmp_path, csv("글,3,4").encode("utf-16-be"))
    assert load_comments(path, encoding="utf-16-be")["text"].tolist() == ["글"]


# --- Columns ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(ours, alias) for ours in ALIASES if ours != "label" for alias in ALIASES[ours].split()],
)
def test_a_usual_column_name_is_found_by_itself(tmp_path, ours, theirs):
    names = {name: name for name in ("text", "likes", "dislikes")} | {ours: theirs}
    values = {"text": "글", "likes": 3, "dislikes": 4, "id": 5, "group": 6, "rating": 7}
    frame = pd.DataFrame([{names[name]: values[name] for name in names}])
    table = load_comments(written(tmp_path, frame.to_csv(index=False)))
    assert table[ours].astype(str).tolist() == [str(values[ours])]


USUAL_NAMES = {
    "text": "text 댓글 내용 contents comment review",
    "likes": "likes 공감 공감수 좋아요 sympathyCount upvotes",
    "dislikes": "dislikes 비공감 비공감수 싫어요 antipathyCount downvotes",
    "group": "group 기사 영화 article_id movie_id",
}


@pytest.mark.parametrize(
    ("ours", "theirs"), [(ours, name) for ours in USUAL_NAMES for name in USUAL_NAMES[ours].split()]
)
def test_the_names_that_people_use_are_among_them(tmp_path, ours, theirs):
    header = ",".join(theirs if name == ours else name for name in USUAL_NAMES)
    table = load_comments(written(tmp_path, csv("글,3,4,5", header=header)))
    assert table[list(USUAL_NAMES)].astype(str).iloc[0].tolist() == ["글", "3", "4", "5"]


@pytest.mark.parametrize("name", ["Like Count", "LIKE_COUNT", "likeCount", " like-count "])
def test_case_spaces_and_dashes_of_a_name_do_not_matter(tmp_path, name):
    assert load_comments(written(tmp_path, csv("글,3,4", header=f"text,{name},dislikes")))["likes"].tolist() == [3]


def test_columns_named_by_the_caller_win_over_aliases(tmp_path):
    path = written(tmp_path, csv("글,부제,3,4,9", header="body_text,text,likes,dislikes,topic"))
    table = load_comments(path, columns={"text": "body_text", "group": "topic"})
    assert table["text"].tolist() == ["글"] and table["group"].tolist() == ["9"]
    assert any("'text' was left out" in line for line in table.attrs["repairs"])


def test_our_name_may_stand_for_something_else_in_the_file(tmp_path):
    path = written(tmp_path, csv("주제,글,3,4", header="text,body_text,likes,dislikes"))
    table = load_comments(path, columns={"text": "body_text", "group": "text"})
    assert table["text"].tolist() == ["글"] and table["group"].tolist() == ["주제"]


def test_the_exact_name_is_preferred_and_the_other_one_reported(tmp_path):
    table = load_comments(written(tmp_path, csv("글,3,4,5", header="text,likes,dislikes,공감")))
    assert table["likes"].tolist() == [3] and table["공감"].tolist() == [5]
    assert any("'공감'" in line for line in table.attrs["repairs"])


def naver_page(*comments):
    keys = ("commentNo", "contents", "sympathyCount", "antipathyCount", "objectId")
    flags = {"sympathy": False, "antipathy": False, "imageList": [], "mentions": None, "translation": {"a": 1}}
    records = [dict(zip(keys, comment, strict=True)) | flags for comment in comments]
    return {"success": True, "result": {"commentList": records, "bestList": [], "count": {"comment": len(records)}}}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("page.json", json.dumps(naver_page((7, "글", 3, 4, "news1"), (8, "둘", 5, 6, "news1")))),
        ("callback.json", f"_callback({json.dumps(naver_page((7, '글', 3, 4, 'news1'), (8, '둘', 5, 6, 'news1')))});"),
        ("pages.json", json.dumps([naver_page((7, "글", 3, 4, "news1")), naver_page((8, "둘", 5, 6, "news1"))])),
        ("pages.jsonl", "\n".join(json.dumps(naver_page(c)) for c in [(7, "글", 3, 4, "n"), (8, "둘", 5, 6, "n")])),
    ],
)
def test_comment_pages_as_naver_exports_them_are_read(tmp_path, name, content):
    table = load_comments(written(tmp_path, content, name))
    assert table["id"].tolist() == ["7", "8"] and table["text"].tolist() == ["글", "둘"]
    assert table["likes"].tolist() == [3, 5] and table["dislikes"].tolist() == [4, 6]
    assert table["group"].nunique() == 1 and table["translation"].tolist() == ['{"a": 1}'] * 2


def test_without_groups_it_says_what_that_means_for_the_split(tmp_path):
    repairs = load_comments(written(tmp_path, csv("글,3,4"))).attrs["repairs"]
    assert len(repairs) == 1 and "no group column" in repairs[0] and "near-duplicates" in repairs[0]


def test_ids_depend_on_content_and_occurrence_only():
    table = pd.DataFrame({"text": ["a", "a", "b"], "likes": [1, 1, 1], "dislikes": [2, 2, 2], "group": ["g"] * 3})
    ids = comment_ids(table)
    assert ids.str.fullmatch("[0-9a-f]{16}").all() and ids.is_unique
    # hashlib.sha256("g\0a\x001\x002\x000".encode()).hexdigest()[:16]
    assert ids[0] == "2bec0a5ff032472e"
    assert comment_ids(table.iloc[[2, 0, 1]]).tolist() == [ids[2], ids[0], ids[1]]


# --- What is put right, with a line that says so ---------------------------------------------------------------------

REPAIRED = {
    # case: (file name, content, texts left, likes left, what the report says)
    "semicolons": ("c.csv", "text;likes;dislikes\n글;3;4\n", ["글"], [3], "a semicolon, not a comma"),
    "tabs in a .csv": ("c.csv", "text\tlikes\tdislikes\n글, 또\t3\t4\n", ["글, 또"], [3], "a tab, not a comma"),
    "commas in a .tsv": ("c.tsv", csv("글,3,4"), ["글"], [3], "a comma, not a tab"),
    "thousands": ("c.csv", csv('글,"1,234",4'), ["글"], [1234], "1 counts such as '1,234'"),
    "만": ("c.csv", csv("글,1.2만,4"), ["글"], [12000], "1 counts such as '1.2만'"),
    "천": ("c.csv", csv("글,3천,4"), ["글"], [3000], "'3천'"),
    "k and M": ("c.csv", csv("글,1.2K,4", "둘,3m,4"), ["글", "둘"], [1200, 3000000], "2 counts"),
    "12.0": ("c.csv", csv("글,12.0,4"), ["글"], [12], "'12.0'"),
    "no text": ("c.csv", csv(",3,4", "글,3,4"), ["글"], [3], "1 row without text left out"),
    "whitespace text": ("c.csv", csv("  \u3000,1,1", "글,3,4", '"\t\n",1,1'), ["글"], [3], "2 rows without text"),
    "zero-width text": ("c.csv", csv("\u200b,1,1", "글,3,4"), ["글"], [3], "1 row without text"),
    "bad counts without text": ("c.csv", csv(",-3,x", "글,3,4"), ["글"], [3], "1 row without text"),
    "NUL in Parquet": ("c.parquet", parquet_bytes(pd.DataFrame([{**ROWS[0], "text": "글\0자"}])), ["글자"], [3], "NUL"),
    "cp949": ("c.csv", csv("글,3,4").encode("cp949"), ["글"], [3], "read as cp949: save it as UTF-8 if"),
    "only a mark": ("c.csv", csv("\u202e,1,1", "글,3,4"), ["글"], [3], "1 row without text"),
    "numbers as text": ("c.json", '[{"text": 5, "likes": 3, "dislikes": 4}]', ["5"], [3], "1 numbers were taken"),
    "NUL in a .csv": ("c.csv", csv("글\0자,3,4"), ["글자"], [3], "1 NUL characters were removed"),
    "NUL in JSON": ("c.json", r'[{"text": "글\u0000자", "likes": 3, "dislikes": 4}]', ["글자"], [3], "NUL characters"),
    "surrogate": ("c.json", r'[{"text": "\ud800", "likes": 3, "dislikes": 4}]', ["\ufffd"], [3], "surrogates were"),
    "mark, surrogate": ("c.json", r'[{"text": "\u202e\ud800", "likes": 3, "dislikes": 4}]', ["\ufffd"], [3], "marks"),
    "direction marks": ("c.csv", csv("\u202egnp.exe,3,4"), ["gnp.exe"], [3], "direction marks were removed in 1 row"),
    "repeated ids": ("c.csv", "id,text,likes,dislikes\n1,글,3,4\n1,둘,5,6\n", ["글"], [3], "1 row with the id of an"),
    "differing ids": ("c.csv", "id,text,likes,dislikes\n1,글,3,4\n1,글,3,4\n1,둘,5,6\n", ["글"], [3], "(1 of them"),
    "repeated rows": ("c.csv", csv("글,3,4", "글,3,4"), ["글", "글"], [3, 3], "1 row equal to an earlier row"),
    "rating": ("c.csv", "text,likes,dislikes,별점\n글,3,4,★★\n", ["글"], [3], "1 values that are not numbers"),
}  # fmt: skip


@pytest.mark.parametrize("case", REPAIRED)
def test_what_can_be_put_right_is_and_one_line_says_so(tmp_path, case):
    name, content, texts, likes, report = REPAIRED[case]
    table = load_comments(written(tmp_path, content, name))
    assert table["text"].tolist() == texts and table["likes"].tolist() == likes
    matching = [line for line in table.attrs["repairs"] if report in line]
    assert len(matching) == 1 and "\n" not in matching[0], table.attrs["repairs"]


KEPT = {
    "html": "<script>alert('x')</script> <b>굵게</b> &amp;",
    "comma and quotes": '그는 "네, 네"라고 했다',
    "line break": "첫 줄\n둘째 줄",
    "line separator": "첫 줄\u2028둘째 줄",
    "emoji of four parts": "👨\u200d👩\u200d👧\u200d👦",
    "the word NA": "NA",
    "formula": "=1+1",
    "one megabyte": "가나다 " * 100_000,
}


@pytest.mark.parametrize("name", ["c.csv", "c.json", "c.jsonl", "c.parquet"])
@pytest.mark.parametrize("case", KEPT)
def test_a_text_comes_through_unchanged(tmp_path, case, name):
    frame = pd.DataFrame([{"text": KEPT[case], "likes": 3, "dislikes": 4, "group": "g"}])
    make = {"c.csv": "comments.csv", "c.json": "comments.json", "c.jsonl": "comments.jsonl"}
    table = load_comments(written(tmp_path, FORMATS[make.get(name, "comments.parquet")](frame), name))
    assert table["text"].tolist() == [KEPT[case]] and table.attrs["repairs"] == []


def test_escaping_the_text_is_all_a_page_needs(tmp_path):
    table = load_comments(written(tmp_path, csv("<script>x</script>,3,4")))
    assert html.escape(table["text"][0]) == "&lt;script&gt;x&lt;/script&gt;"


# --- What is refused -------------------------------------------------------------------------------------------------

TRUNCATED_PARQUET = parquet_bytes(pd.DataFrame(ROWS))[:-20]
BAD_UTF8_PARQUET = parquet_bytes(
    pa.table({"text": pa.array([b"\xff\xfe"]).view(pa.string()), "likes": [1], "dislikes": [1]})
)

REFUSED = {
    # case: (file name, content, words of the message)
    "empty file": ("c.csv", "", ["is empty", "export"]),
    "blank file": ("c.csv", "\n \n", ["is empty", "export"]),
    "header only": ("c.csv", csv(), ["no rows", "export"]),
    "empty list": ("c.json", "[]", ["no rows", "export"]),
    "empty page": ("c.json", json.dumps(naver_page()), ["no rows"]),
    "unknown kind": ("c.xlsx", "x", ["unknown kind '.xlsx'", ".csv"]),
    "Excel in a .csv": ("c.csv", b"PK\x03\x04rest", ["Excel or zip", "save"]),
    "not text": ("c.csv", b"\xff\xff\x80\x81,1\n", ["utf-8 nor cp949", "save it as UTF-8", "encoding="]),
    "surrogate in a .csv": ("c.csv", csv("\ud800,3,4").encode("utf-8", "surrogatepass"), ["utf-8 nor cp949"]),
    "UTF-16 without mark": ("c.csv", csv("comment,3,4").encode("utf-16-le"), ["encoding='utf-16-le'"]),
    "a title above": ("c.csv", "나의 댓글\n" + csv("글,3,4"), ["line 2", "lines above the column names"]),
    "unknown delimiter": ("c.csv", "text:likes:dislikes\n글:3:4\n", ["no column for text", "delimiter", "COLUMNS"]),
    "too many fields": ("c.csv", csv("글,3,4", "하나, 둘,3,4"), ["line 3", "double quotes"]),
    "open quote": ("c.csv", csv('"글,3,4'), ["cannot be read", "double quotes"]),
    "missing column": ("c.csv", "text,likes\n글,3\n", ["no column for dislikes", "'text', 'likes'", "COLUMNS"]),
    "two likes": ("c.csv", "text,공감,upvotes,dislikes\n글,3,3,4\n", ["'공감' and 'upvotes'", "likes", "COLUMNS"]),
    "likes twice": ("c.csv", "text,likes,likes,dislikes\n글,3,3,4\n", ["'likes' and 'likes.1'", "COLUMNS"]),
    "negative": ("c.csv", csv("글,3,4", "글,-3,4"), ["'likes' is negative in 1 row", "row 1", "correct"]),
    "fractional": ("c.csv", csv("글,3,4.5"), ["'dislikes' is not a whole number", "row 0", "'4.5'"]),
    "fraction of 만": ("c.csv", csv("글,1.23456만,4"), ["'likes' is not a whole number"]),
    "word": ("c.csv", csv("글,many,4"), ["'likes' is not a number", "'many'", "correct"]),
    "wrong thousands": ("c.csv", csv('글,"1,2,3",4'), ["'likes' is not a number", "'1,2,3'"]),
    "missing count": ("c.csv", csv("글,,4"), ["'likes' is missing in 1 row", "row 0"]),
    "short row": ("c.csv", csv("글,3,4", "글"), ["'likes' is missing in 1 row", "row 1"]),
    "null count": ("c.json", '[{"text": "글", "likes": null, "dislikes": 4}]', ["'likes' is missing"]),
    "infinite": ("c.csv", csv("글,inf,4"), ["'likes' is infinite", "row 0"]),
    "infinite in JSON": ("c.json", '[{"text": "글", "likes": 3, "dislikes": -Infinity}]', ["'dislikes' is infinite"]),
    "NaN in JSON": ("c.json", '[{"text": "글", "likes": NaN, "dislikes": 4}]', ["'likes' is missing"]),
    "over 2^31": ("c.csv", csv(f"글,{2**31},4"), ["'likes' is over 2^31 - 1", "2147483648"]),
    "over 10^400": ("c.json", f'[{{"text": "글", "likes": 1{"0" * 400}, "dislikes": 4}}]', ["'likes' is over 2^31"]),
    "truth value": ("c.json", '[{"text": "글", "likes": true, "dislikes": 4}]', ["'likes' is not a number", "True"]),
    "no text at all": ("c.csv", csv(",3,4", " ,3,4"), ["'text' is empty in every row", "COLUMNS"]),
    "list as text": ("c.json", '[{"text": ["글"], "likes": 3, "dislikes": 4}]', ["'text' is not text", "row 0"]),
    "bool as text": ("c.json", '[{"text": true, "likes": 3, "dislikes": 4}]', ["'text' is not text", "True"]),
    "bytes as text": ("c.parquet", parquet_bytes(pd.DataFrame([{**ROWS[0], "text": b"x"}])), ["'text' is not text"]),
    "missing id": ("c.csv", "id,text,likes,dislikes\n,글,3,4\n", ["'id' is missing in 1 row"]),
    "blank group": ("c.csv", "group,text,likes,dislikes\n ,글,3,4\n", ["'group' is missing in 1 row"]),
    "nested group": ("c.json", '[{"text": "글", "likes": 3, "dislikes": 4, "group": {}}]', ["'group' is a nested"]),
    "truncated Parquet": ("c.parquet", TRUNCATED_PARQUET, ["cannot be read as parquet", "export"]),
    "not Parquet": ("c.parquet", csv("글,3,4"), ["cannot be read as parquet"]),
    "Parquet not UTF-8": ("c.parquet", BAD_UTF8_PARQUET, ["cannot be read as parquet", "UTF8"]),
    "gzip that is not one": ("c.csv.gz", csv("글,3,4"), ["cannot be read as csv", "gzip"]),
    "gzip cut short": ("c.csv.gz", gzip.compress(csv("글,3,4").encode())[:-9], ["cannot be read as csv"]),
    "JSON cut short": ("c.json", '[{"text": "글"', ["cannot be read as json"]),
    "JSON of numbers": ("c.json", "[1, 2]", ["record 0 is int"]),
    "a word of JSON": ("c.json", '"text"', ["record 0 is str"]),
    "document in .jsonl": ("c.jsonl", json.dumps(ROWS, indent=1), ["line 1 is not JSON", ".json"]),
    "JSON too deep": ("c.json", nested(200_000), ["nests too deep"]),
    "value too deep": ("c.json", f'[{{"text": {nested(200_000)}}}]', ["nests too deep"]),
    "a million columns": ("c.csv", ",".join(map(str, range(1_000_000))), ["1,000,000 columns"]),
    "wide JSON": ("c.json", json.dumps([{str(i): 0 for i in range(20_000)}]), ["20,000 columns"]),
    "wide Parquet": ("c.parquet", parquet_bytes(pa.table({str(i): [0] for i in range(10_001)})), ["10,001 columns"]),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_used_is_refused_with_file_place_and_remedy(tmp_path, case):
    name, content, words = REFUSED[case]
    with pytest.raises(CommentDataError) as error:
        load_comments(written(tmp_path, content, name))
    assert all(word in str(error.value) for word in (name, *words)), str(error.value)
    assert len(str(error.value)) < 2_000


def test_a_missing_file_a_folder_and_an_impossible_name_are_refused(tmp_path):
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "file.csv").write_text("x")
    kinds = r"\(\.csv, \.tsv, \.parquet, \.json, \.jsonl\)"
    cases = {
        tmp_path
        / "no.csv": rf"no\.csv does not exist: set DATASET to a file {kinds} or to 'sample' or 'movie-reviews'$",
        tmp_path / "folder.csv": rf"folder\.csv is a folder: set DATASET to one file in it {kinds}$",
        "/dev/null": rf"^/dev/null is not a plain file: set DATASET to one {kinds}$",
        tmp_path / "file.csv" / "c.csv": r"file\.csv/c\.csv cannot be opened \(.*Not a directory.*\): check the path$",
        "a\0b.csv": "^a\0b\\.csv cannot be opened \\(embedded null byte\\): check the path$",
    }
    for path, message in cases.items():
        with pytest.raises(CommentDataError, match=message):
            load_comments(path)


def test_the_whole_message_names_file_column_first_rows_values_and_remedy(tmp_path):
    path = written(tmp_path, csv("글,3,4", *(f"글,-{n},4" for n in range(1, 6))))
    with pytest.raises(CommentDataError) as error:
        load_comments(path)
    assert str(error.value) == (
        f"{path}: column 'likes' is negative in 5 rows, first at row 1, 2, 3 (counted from 0 after the header; "
        "'-1', '-2', '-3'): correct those rows or leave them out"
    )


@pytest.mark.parametrize("encoding", ["utf-32", "ascii", "no-such-encoding", "hex"])
def test_a_wrong_encoding_is_refused(tmp_path, encoding):
    with pytest.raises(CommentDataError, match=f"is not text in {encoding}"):
        load_comments(written(tmp_path, csv("가나다,3,4")), encoding=encoding)


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"likes": "votes"}, "'likes' from column 'votes'"),
        ({"votes": "likes"}, "our names are id, text"),
        ({"likes": "dislikes", "dislikes": "dislikes"}, "'dislikes' more than once"),
    ],
)
def test_columns_that_cannot_be_meant_are_refused(tmp_path, columns, words):
    with pytest.raises(CommentDataError, match=words):
        load_comments(written(tmp_path, csv("글,3,4")), columns=columns)


# --- Laws, for any input ---------------------------------------------------------------------------------------------

NAMES = st.sampled_from(["text", "likes", "dislikes", "공감", "label", "group", "id", "rating", "x", ""]) | st.text(
    max_size=3
)
COUNTS = st.sampled_from(["3", "1.2만", "1,234", "-1", "0.5", "inf", "nan", "", "9" * 30, 3, 10**400, True, None, 2.0])
TEXTS = st.text(st.characters(codec=None), max_size=6) | st.sampled_from(["\ud800", "글\0", "\u202e", '"', "<b>", " "])
LEAVES = TEXTS | COUNTS | st.floats() | st.integers()
VALUES = LEAVES | st.lists(LEAVES, max_size=2) | st.dictionaries(st.text(max_size=2), LEAVES, max_size=2)
RECORDS = st.fixed_dictionaries(
    {},
    optional={
        "text": TEXTS | VALUES,
        "likes": COUNTS,
        "dislikes": COUNTS,
        "label": VALUES,
        "group": VALUES,
        "id": VALUES,
        "x": VALUES,
    },
)
DOCUMENTS = st.lists(RECORDS | st.dictionaries(NAMES, VALUES, max_size=4), max_size=4).map(
    lambda records: [{"text": "글", "likes": 1, "dislikes": 2} | record for record in records]
)
CELLS = st.lists(st.lists(TEXTS | COUNTS.map(str), min_size=1, max_size=5), max_size=4)
FRAGMENTS = [b'"', b",", b"\n", b"\r", b"\0", b"text,likes,dislikes\n", b"a,1,2\n", b"[", b"{", b'{"text":', b"PAR1"]
BLOBS = st.lists(st.sampled_from(FRAGMENTS) | st.binary(max_size=8), max_size=8).map(b"".join)


def _table(records, delimiter):
    stream = io.StringIO()
    writer = DictWriter(stream, dict.fromkeys(name for record in records for name in record), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(records)
    return stream.getvalue().encode("utf-8", "replace")


def _delimited(rows, delimiter):
    lines = ["text,likes,dislikes".replace(",", delimiter), *(delimiter.join(row) for row in rows)]
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def _damaged(content, place, byte):
    place %= max(len(content), 1)
    return content[:place] + bytes([byte]) + content[place + 1 :]


_PARQUET = parquet_bytes(pd.DataFrame(ROWS).assign(group=["a", "b"], rating=[1.5, None]))
FILES = st.one_of(
    st.tuples(st.just("c.json"), DOCUMENTS.map(json.dumps).map(str.encode)),
    st.tuples(st.just("c.jsonl"), DOCUMENTS.map(lambda rows: "\n".join(map(json.dumps, rows)).encode())),
    st.tuples(st.just("c.csv"), DOCUMENTS.map(lambda records: _table(records, ","))),
    st.tuples(st.just("c.tsv"), DOCUMENTS.map(lambda records: _table(records, "\t"))),
    st.tuples(st.just("c.csv"), CELLS.map(lambda rows: _delimited(rows, ","))),
    st.tuples(st.just("c.tsv"), CELLS.map(lambda rows: _delimited(rows, "\t"))),
    st.tuples(st.sampled_from(["c.csv", "c.tsv", "c.json", "c.jsonl", "c.parquet", "c.csv.gz"]), BLOBS),
    st.tuples(st.just("c.parquet"), st.builds(_damaged, st.just(_PARQUET), st.integers(0, 10**4), st.integers(0, 255))),
)


OPTIONS = st.just({}) | st.fixed_dictionaries(
    {},
    optional={
        "encoding": st.sampled_from(["utf-8", "utf-16", "cp949", "latin-1", "hex", "no-such-encoding", "\0"]),
        "columns": st.dictionaries(NAMES, NAMES, max_size=2),
    },
)


def _is_a_table_or_a_comment_data_error(folder, name, content, options):
    path = folder / name
    path.write_bytes(content)
    try:
        table = load_comments(path, **options)
    except CommentDataError as error:
        assert name in str(error)
        return
    assert len(table) and table["id"].is_unique and table["text"].str.strip().ne("").all()
    if "label" in table:
        assert 2 <= table["label"].nunique() <= 100 and not table["label"].isin(["", "-1"]).any()
    for column in [] if "label" in table else ["likes", "dislikes"]:
        assert table[column].dtype == np.int64 and table[column].between(0, 2**31 - 1).all()
    assert all(isinstance(line, str) and "\n" not in line for line in table.attrs["repairs"])
    pa.Table.from_pandas(table).validate(full=True)


FUZZ = {"deadline": None, "suppress_health_check": list(HealthCheck), "derandomize": True}


@settings(max_examples=2_000, **FUZZ)
@given(FILES, OPTIONS)
def test_any_file_gives_a_table_or_a_comment_data_error(tmp_path_factory, file, options):
    _is_a_table_or_a_comment_data_error(tmp_path_factory.getbasetemp(), *file, options)


@pytest.mark.long
@settings(max_examples=100_000, **FUZZ | {"derandomize": False})
@given(FILES, OPTIONS)
def test_any_of_very_many_files_gives_a_table_or_a_comment_data_error(tmp_path_factory, file, options):
    _is_a_table_or_a_comment_data_error(tmp_path_factory.getbasetemp(), *file, options)


# --- Labels in place of votes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_may_hold_labels_in_place_of_votes(tmp_path, name):
    frame = pd.DataFrame({"text": ["가", "나", "다"], "label": ["긍정", "부정", "중립"]})
    comments = load_comments(written(tmp_path, FORMATS[name](frame), name))
    assert list(comments) == ["id", "text", "label"]
    assert comments["label"].tolist() == ["긍정", "부정", "중립"]


@pytest.mark.parametrize("header", ["Label", "라벨 명", *ALIASES["label"].split()])
def test_a_label_column_is_found_by_its_usual_names(tmp_path, header):
    comments = load_comments(written(tmp_path, f"댓글,{header}\n가,긍정\n나,부정\n"))
    assert comments["label"].tolist() == ["긍정", "부정"]


def test_columns_can_name_the_label(tmp_path):
    path = written(tmp_path, "text,mood\n가,good\n나,bad\n")
    assert load_comments(path, columns={"label": "mood"})["label"].tolist() == ["good", "bad"]


@pytest.mark.parametrize("values", [[0, 1, 2], [0.0, 1.0, 2.0], ["0", "1", "2"], ["0.0", "1.0", "2.0"]])
def test_whole_numbers_are_classes_however_they_are_written(tmp_path, values):
    frame = pd.DataFrame({"text": ["가", "나", "다"], "label": values})
    for name in ("comments.parquet", "comments.csv"):
        assert load_comments(written(tmp_path, FORMATS[name](frame), name))["label"].tolist() == ["0", "1", "2"]


def test_truth_values_are_two_classes(tmp_path):
    frame = pd.DataFrame({"text": ["가", "나"], "label": [True, False]})
    comments = load_comments(written(tmp_path, parquet_bytes(frame), "comments.parquet"))
    assert comments["label"].tolist() == ["True", "False"]


def test_empty_labels_and_minus_one_are_no_label_and_that_is_said(tmp_path):
    comments = load_comments(written(tmp_path, "text,label\n가,1\n나,\n다,-1\n라,0\n"))
    assert comments["label"].isna().tolist() == [False, True, True, False]
    assert "2 rows without a label: the text is used" in str(comments.attrs["repairs"])


def test_labels_that_look_alike_are_one_class(tmp_path):
    decomposed = unicodedata.normalize("NFD", "부정")  # as macOS writes it
    comments = load_comments(written(tmp_path, f"text,label\n가,부정\n나,{decomposed} \n다,긍정\n"))
    assert comments["label"].tolist() == ["부정", "부정", "긍정"]


def test_a_label_wins_over_votes_and_that_is_said(tmp_path):
    comments = load_comments(written(tmp_path, "text,likes,dislikes,label\n가,1,x,spam\n나,3,4,ham\n"))
    assert comments["label"].tolist() == ["spam", "ham"]
    said = "labels are taken from column 'label' and the votes are not used; COLUMNS = {'label': None} makes"
    assert said in str(comments.attrs["repairs"])


def test_votes_win_where_the_label_is_switched_off(tmp_path):
    path = written(tmp_path, "text,likes,dislikes,label\n가,1,2,spam\n나,3,4,ham\n")
    comments = load_comments(path, columns={"label": None})
    assert comments["likes"].tolist() == [1, 3] and "label" not in comments
    assert "the file's column 'label' was left out: COLUMNS has 'label': None" in comments.attrs["repairs"]


def test_beside_votes_a_column_that_may_be_something_else_is_a_label_only_when_named(tmp_path):
    path = written(tmp_path, "text,likes,dislikes,분류\n가,1,2,정치\n나,3,4,경제\n")
    comments = load_comments(path)
    assert comments["likes"].tolist() == [1, 3] and comments["분류"].tolist() == ["정치", "경제"]
    assert "COLUMNS = {'label': '분류'} takes them from that column" in str(comments.attrs["repairs"])
    assert load_comments(path, columns={"label": "분류"})["label"].tolist() == ["정치", "경제"]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (["가,긍정", "나,긍정"], "one class only, '긍정' in 2 rows: two classes or more are needed"),
        (["가,", "나,-1"], "has no label in any row"),
        (["가,긍정", "나,0.5"], r"column 'label' is a fraction and no class in 1 row, first at row 1 .*0\.5"),
        ([f"글 {number},{number}" for number in range(101)], r"101 different values .*: choose the column"),
    ],
)
def test_labels_that_are_no_classes_are_refused_with_file_column_and_row(tmp_path, rows, said):
    with pytest.raises(CommentDataError, match=rf"comments\.csv: .*{said}"):
        load_comments(written(tmp_path, csv(*rows, header="text,label")))


def test_the_classes_are_counted_in_the_rows_that_are_kept(tmp_path):
    rows = csv(
        "1,가,긍정", "1,나,부정", "2,다,긍정", header="id,text,label"
    )  # the one of the other class repeats an id
    with pytest.raises(CommentDataError, match="one class only, '긍정' in 2 rows"):
        load_comments(written(tmp_path, rows))


@pytest.mark.parametrize(
    ("value", "said"), [([1, 2], "is a nested value in 1 row, first at row 1"), (0.5, "is a fraction and no class")]
)
def test_lists_and_fractions_in_json_are_refused_with_their_row(tmp_path, value, said):
    rows = [{"text": "가", "label": "a"}, {"text": "나", "label": value}, {"text": "다", "label": "b"}]
    with pytest.raises(CommentDataError, match=f"column 'label' {said}"):
        load_comments(written(tmp_path, json.dumps(rows), "comments.json"))


def test_a_file_with_neither_votes_nor_labels_says_how_to_name_either(tmp_path):
    with pytest.raises(CommentDataError, match=r"no column for likes, dislikes; .*COLUMNS = {'label': 'your column'}"):
        load_comments(written(tmp_path, "text,mood\n가,good\n"))


def test_the_label_is_no_part_of_the_id(tmp_path):
    first, second = (
        load_comments(written(tmp_path, f"text,label\n가,{one}\n나,{other}\n"))
        for one, other in (("a", "b"), ("b", "a"))
    )
    assert first["id"].tolist() == second["id"].tolist()
