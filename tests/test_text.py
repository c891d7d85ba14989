import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.text import (
    PAD,
    UNKNOWN,
    build_vocabulary,
    clean_comment,
    encode_tokens,
    tokenize,
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
