import json
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st

from utils import text as text_module
from utils.text import (
    PAD,
    UNKNOWN,
    build_vocabulary,
    clean_comment,
    encode_tokens,
    tokenize,
    tokenize_cached,
    tokenizer_settings,
)


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("ㅋㅋㅋㅋㅋ", "ㅋㅋ"),
        ("와하하하하하하하하하핫", "와하하핫"),  # the example in soynlp's README
        ("1000원", "100원"),  # KcBERT shortens digits too
        ("최고!!!!!", "최고!!!!!"),  # punctuation is no letter and stays
        ("좋아요 😀👍🏽 ❤️", "좋아요 😀👍🏽 ❤️"),
        ("美國 영화 すごい", "영화"),
        ("여기 https://www.example.com/a?b=c#d 보세요", "여기 보세요"),
        ("  여러\n줄\t 이다 ", "여러 줄 이다"),
        ("50％·60∼70%", "50％·60∼70%"),
        ("Good MOVIE", "Good MOVIE"),  # KcBERT is cased
        ("\ud800반쪽", "반쪽"),
        ("", ""),
        ("漢字", ""),
    ],
)
def test_comments_are_cleaned_as_kcbert_does(raw: str, clean: str) -> None:
    assert clean_comment(raw) == clean


def test_decomposed_hangul_is_cleaned_and_cut_as_composed_hangul() -> None:
    composed = "배송이 늦어서 화났어요ㅠㅠㅠ 각하 값 😀👍🏽 3️⃣"
    decomposed = unicodedata.normalize("NFD", composed)
    assert decomposed != composed and clean_comment(decomposed) == clean_comment(composed)
    assert tokenize([decomposed]) == tokenize([composed]) != [[]]


@settings(deadline=None)
@given(st.text("ㅎ가b1 \u1112\u1161\u11ab"))
def test_composing_a_comment_beforehand_changes_nothing(text: str) -> None:
    assert clean_comment(unicodedata.normalize("NFC", text)) == clean_comment(text)


def test_a_family_of_emoji_stays_one() -> None:
    assert clean_comment("👨‍👩‍👧 🏴󠁧󠁢󠁥󠁮󠁧󠁿 3️⃣") == "👨‍👩‍👧 🏴󠁧󠁢󠁥󠁮󠁧󠁿 3️⃣"


@settings(deadline=None)
@given(st.text())
def test_cleaning_leaves_only_allowed_characters(text: str) -> None:
    cleaned = clean_comment(text)
    assert cleaned == cleaned.strip() and "  " not in cleaned and "\n" not in cleaned
    assert not regex.search(
        r"\p{Han}|[^\x00-\x7F％·∼ㄱ-ㅣ가-힣\p{Emoji}\u200d\ufe0f\u20e3\U000e0020-\U000e007f]", cleaned
    )
    assert not regex.search(r"(\w)\1\1", cleaned)


@pytest.mark.parametrize("value", [None, 3, b"abc", float("nan")])
def test_cleaning_refuses_what_is_not_a_string(value: object) -> None:
    with pytest.raises(TypeError, match="text must be a string, not"):
        clean_comment(value)  # type: ignore[arg-type]


def test_a_comment_becomes_morphemes_with_their_tags() -> None:
    assert tokenize(["영화가 재미있다ㅋㅋㅋㅋㅋ"]) == [["영화/NNG", "가/JKS", "재미있/VA", "다/EF", "ㅋㅋ/SW"]]


def test_irregular_verbs_carry_the_plain_tag() -> None:
    tokens = tokenize(["노래를 들었다"])[0]
    assert "듣/VV" in tokens and not any("-" in token for token in tokens)


def test_final_consonants_are_written_with_the_letters_of_the_keyboard() -> None:
    assert "ㄴ/JX" in tokenize(["난 좋다"])[0]


def test_tokens_keep_the_order_of_the_comments() -> None:
    texts = [f"{number}번 버스" for number in range(300)]
    assert [tokens[0] for tokens in tokenize(texts)] == [f"{clean_comment(str(n))}/SN" for n in range(300)]


def test_equal_comments_get_equal_tokens_that_do_not_share_a_list() -> None:
    first, second = tokenize(["버스가 늦다", "버스가 늦다"])
    assert first == second and first is not second


def test_the_same_comments_give_the_same_tokens_whatever_stands_beside_them() -> None:
    texts = ["배송이 늦어서 화가 났어요ㅠㅠ", "가격이 또 올랐네", "버스 노선 바꾼 건 잘한 일"]
    assert tokenize(texts) == [tokenize([text])[0] for text in texts]


@pytest.mark.parametrize("text", ["", "   ", "\ud800", "漢字"])
def test_a_comment_of_which_nothing_is_left_has_no_tokens(text: str) -> None:
    assert tokenize([text]) == [[]]


def test_emoji_and_nul_and_very_long_comments_have_tokens() -> None:
    emoji, nul, long = tokenize(["😀", "가\x00나", "좋다 " * 10_000])
    assert emoji == ["😀/W_EMOJI"]
    assert "\x00/SW" in nul
    assert len(long) == 20_000


def test_no_comments_have_no_tokens() -> None:
    assert tokenize([]) == []


def test_tokenizing_refuses_a_bare_string_and_names_what_is_not_a_string() -> None:
    with pytest.raises(TypeError, match="not one string"):
        tokenize("버스")
    with pytest.raises(TypeError, match=r"texts\[1\] must be a string, not NoneType"):
        tokenize(["버스", None])  # type: ignore[list-item]


COMMENTS = [
    "버스가 또 늦었다ㅠㅠ",
    "",
    "😀😀",
    "버스가 또 늦었다ㅠㅠㅠㅠㅠ",
    "배송 빨라서 좋아요 https://example.com",
    "\ud800",
]


@pytest.fixture
def cut_here(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The comments that had to be cut, in order."""
    seen: list[str] = []

    def watched(texts: object, **arguments: bool) -> list[list[str]]:
        texts = list(texts)  # type: ignore[call-overload]
        seen.extend(texts)
        return tokenize(texts, **arguments)

    monkeypatch.setattr(text_module, "tokenize", watched)
    return seen


def cache_file(folder: Path) -> Path:
    (path,) = folder.iterdir()
    return path


def test_cached_tokens_are_those_of_the_tokenizer_on_the_first_and_on_the_second_call(tmp_path: Path) -> None:
    for _ in range(2):
        assert tokenize_cached(COMMENTS, tmp_path / "tokens") == tokenize(COMMENTS)


def test_a_comment_is_cut_once_whatever_stands_beside_it(tmp_path: Path, cut_here: list[str]) -> None:
    tokenize_cached(COMMENTS[:3], tmp_path)
    again = tokenize_cached(["새 댓글", *reversed(COMMENTS)], tmp_path)
    assert sorted(cut_here) == sorted(
        [*COMMENTS[:3], "새 댓글", COMMENTS[4]]
    )  # 0 and 3 are equal once cleaned, so 1 and 5
    assert again == tokenize(["새 댓글", *reversed(COMMENTS)])


def test_a_second_pass_does_not_even_load_kiwi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = tokenize_cached(COMMENTS, tmp_path)
    monkeypatch.setattr(text_module, "kiwi", lambda: pytest.fail("Kiwi was asked again"))
    assert tokenize_cached(iter(COMMENTS), tmp_path) == first


def test_a_comment_that_cleaning_would_change_twice_is_cleaned_once(tmp_path: Path) -> None:
    text = "htttttp://a.com 보세요"
    assert clean_comment(clean_comment(text)) != clean_comment(text)
    for _ in range(2):
        assert tokenize_cached([text], tmp_path) == tokenize([text])


def test_cached_lists_are_not_shared(tmp_path: Path) -> None:
    first, second = tokenize_cached(["버스", "버스"], tmp_path)
    first.append("x")
    assert second == tokenize_cached(["버스"], tmp_path)[0] == tokenize(["버스"])[0]


def test_another_version_of_kiwi_cuts_anew(
    tmp_path: Path, cut_here: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenize_cached(["버스"], tmp_path)
    changed = {**tokenizer_settings(), "kiwipiepy_model": "99"}
    monkeypatch.setattr(text_module, "tokenizer_settings", lambda: changed)
    tokenize_cached(["버스"], tmp_path)
    assert cut_here == ["버스", "버스"]


def test_the_settings_name_kiwi_and_its_model_and_fit_json() -> None:
    settings = json.loads(json.dumps(tokenizer_settings()))
    assert settings["kiwipiepy"] and settings["kiwipiepy_model"]


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def one_bit_flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    start = content.index("버스".encode())
    content[start] ^= 1
    path.write_bytes(content)


def other_columns(path: Path) -> None:
    pq.write_table(pa.table({"a": [1]}), path)


@pytest.mark.parametrize("damage", [cut_short, emptied, one_bit_flipped, other_columns])
def test_a_broken_file_is_reported_in_one_line_and_made_anew(
    damage: Callable[[Path], None], tmp_path: Path, cut_here: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    tokenize_cached(["버스"], tmp_path)
    damage(cache_file(tmp_path))
    assert tokenize_cached(["버스"], tmp_path) == tokenize(["버스"])
    report = capsys.readouterr().out
    assert report.count("\n") == 1 and cache_file(tmp_path).name in report and "made anew" in report
    assert cut_here == ["버스", "버스"]
    tokenize_cached(["버스"], tmp_path)
    assert cut_here == ["버스", "버스"] and capsys.readouterr().out == ""


def test_an_interrupted_write_leaves_the_earlier_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenize_cached(["버스"], tmp_path)
    before = cache_file(tmp_path).read_bytes()

    def interrupted(table: pa.Table, path: Path, **_: object) -> None:
        path.write_bytes(b"PAR1 half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(text_module.pq, "write_table", interrupted)
        tokenize_cached(["택시"], tmp_path)
    assert cache_file(tmp_path).read_bytes() == before


def test_a_run_that_is_broken_off_keeps_what_was_written(
    tmp_path: Path, cut_here: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_module, "_COMMENTS_A_WRITE", 2)
    asked = ["버스", "택시", "기차", "배", "자전거"]
    tokenize_cached(asked[:1], tmp_path)
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        writes = iter([text_module.pq.write_table, None])

        def second_is_broken_off(*arguments: object, **settings: object) -> None:
            write = next(writes)
            if write is None:
                raise KeyboardInterrupt
            write(*arguments, **settings)

        patched.setattr(text_module.pq, "write_table", second_is_broken_off)
        tokenize_cached(asked, tmp_path)
    del cut_here[:]
    assert tokenize_cached(asked, tmp_path) == tokenize(asked)
    assert cut_here == ["배", "자전거"]


def test_cached_tokenizing_refuses_what_tokenizing_refuses_and_takes_no_comments(tmp_path: Path) -> None:
    assert tokenize_cached([], tmp_path) == []
    with pytest.raises(TypeError, match=r"texts\[1\] must be a string, not NoneType"):
        tokenize_cached(["버스", None], tmp_path)  # type: ignore[list-item]


SENTENCES = [["나", "다"], ["가", "다", "라"], ["가", "다"]]


def test_the_vocabulary_is_sorted_by_frequency_then_code_point() -> None:
    vocabulary = build_vocabulary(SENTENCES, min_count=1)
    assert list(vocabulary.items()) == [("[PAD]", 0), ("[UNK]", 1), ("다", 2), ("가", 3), ("나", 4), ("라", 5)]


def test_rare_tokens_and_what_exceeds_the_size_stay_out_of_the_vocabulary() -> None:
    assert list(build_vocabulary(SENTENCES, min_count=2)) == ["[PAD]", "[UNK]", "다", "가"]
    assert list(build_vocabulary(SENTENCES, min_count=1, max_size=3)) == ["[PAD]", "[UNK]", "다"]


def test_reserved_names_in_a_sentence_get_no_second_row() -> None:
    vocabulary = build_vocabulary([["[PAD]", "[UNK]", "가"]] * 3)
    assert vocabulary == {"[PAD]": 0, "[UNK]": 1, "가": 2}


def test_the_vocabulary_names_a_bad_argument() -> None:
    with pytest.raises(ValueError, match="min_count must be at least 1, not 0"):
        build_vocabulary(SENTENCES, min_count=0)
    with pytest.raises(ValueError, match="max_size must be at least 2, not 1"):
        build_vocabulary(SENTENCES, max_size=1)


def test_ids_are_cut_filled_with_padding_and_unknown_for_new_tokens() -> None:
    vocabulary = {"[PAD]": PAD, "[UNK]": UNKNOWN, "가": 2, "나": 3}
    ids = encode_tokens([["가", "새말", "나", "가"], ["나"], []], vocabulary, max_length=3)
    assert ids.dtype == "int32"
    assert ids.tolist() == [[2, 1, 3], [3, 0, 0], [0, 0, 0]]


def test_a_token_that_spells_padding_is_not_padding() -> None:
    vocabulary = build_vocabulary([["가"]], min_count=1)
    assert encode_tokens([["[PAD]", "가"]], vocabulary, max_length=2).tolist() == [[UNKNOWN, 2]]


def test_encoding_nothing_gives_no_rows() -> None:
    assert encode_tokens([], {"[PAD]": 0, "[UNK]": 1}, max_length=4).shape == (0, 4)


def test_encoding_names_a_bad_length() -> None:
    with pytest.raises(ValueError, match="max_length must be at least 1, not 0"):
        encode_tokens([["가"]], {"[PAD]": 0, "[UNK]": 1}, max_length=0)


@given(st.lists(st.lists(st.sampled_from("가나다라마"), max_size=6)))
def test_decoding_known_tokens_gives_them_back(sentences: list[list[str]]) -> None:
    vocabulary = build_vocabulary(sentences, min_count=1)
    names = list(vocabulary)
    ids = encode_tokens(sentences, vocabulary, max_length=6)
    assert [[names[index] for index in row if index != PAD] for row in ids] == sentences
