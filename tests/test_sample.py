"""The embedded sample: its bytes, its Korean, and the properties its data card promises."""

import hashlib
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from utils.files import ROOT
from utils.labelling import label_controversy
from utils.sample import COLUMNS, ceiling_auroc, generate_comments, is_split, write_sample
from utils.sample.korean import add_particle, conjugate, join_syllable, split_syllable
from utils.sample.lexicon import ENDINGS, JUDGEMENTS, KINDS, REASONS, STANCES, WEIGHTS
from utils.sample.measure import measure
from utils.sample.opinions import OPINIONS, generate_opinions
from utils.sample.ratios import draw_votes
from utils.sample.table import COPY_SHARE, FULL_NAME, OPINIONS_NAME, SMALL_NAME
from utils.splits import near_duplicate_clusters, split_by_group


@pytest.fixture(scope="module")
def sample() -> pd.DataFrame:
    """Return the committed sample with its labels."""
    comments = pd.read_csv(ROOT / "data" / FULL_NAME)
    return comments.join(label_controversy(comments["likes"], comments["dislikes"]))


@pytest.fixture(scope="module")
def labelled(sample: pd.DataFrame) -> pd.DataFrame:
    """Return the labelled comments, with clusters and split of seed 0."""
    comments = sample.assign(cluster=near_duplicate_clusters(sample["text"]))
    comments["split"] = split_by_group(comments, seed=0)
    return comments[comments["label"] >= 0]


# --- Bytes ---


def test_the_command_writes_the_committed_files_byte_for_byte(tmp_path):
    command = [sys.executable, "-m", "utils.sample", "--output", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=120)
    for name in (FULL_NAME, SMALL_NAME, OPINIONS_NAME):
        assert (tmp_path / name).read_bytes() == (ROOT / "data" / name).read_bytes()


def test_the_data_card_names_the_checksum_of_each_file():
    card = (ROOT / "data" / "README.md").read_text(encoding="utf-8")
    for name in (FULL_NAME, SMALL_NAME, OPINIONS_NAME):
        assert hashlib.sha256((ROOT / "data" / name).read_bytes()).hexdigest() in card


def test_another_seed_gives_other_comments():
    first, second = (generate_comments(seed=seed, comments=200, articles=10) for seed in (0, 1))
    assert not set(first["text"]) & set(second["text"]) > {""}
    assert (first["text"] != second["text"]).mean() > 0.95


def test_the_files_are_utf8_with_line_feeds_and_at_most_three_megabytes():
    content = (ROOT / "data" / FULL_NAME).read_bytes()
    content.decode("utf-8")
    assert b"\r" not in content
    assert content.endswith(b"\n")
    assert len(content) <= 3_000_000


def test_an_interrupted_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    (tmp_path / FULL_NAME).write_text("old", encoding="utf-8")

    def write_half(table, path):
        path.write_text("half", encoding="utf-8")
        raise KeyboardInterrupt

    monkeypatch.setattr("utils.sample.table._write_csv", write_half)
    with pytest.raises(KeyboardInterrupt):
        write_sample(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [FULL_NAME]
    assert (tmp_path / FULL_NAME).read_text(encoding="utf-8") == "old"


# --- The table ---


def test_it_has_twenty_thousand_comments_under_a_thousand_articles(sample):
    assert len(sample) == 20_000
    assert sample["group"].nunique() == 1_000
    assert tuple(sample.columns[: len(COLUMNS)]) == COLUMNS
    assert sample["group"].str.fullmatch(r"article-\d{4}").all()
    assert sample["text"].str.strip().ne("").all()
    assert sample["true_ratio"].between(0, 1, inclusive="neither").all()


def test_the_small_file_is_the_first_whole_articles_of_the_large_one(sample):
    small = pd.read_csv(ROOT / "data" / SMALL_NAME)
    assert 1_900 <= len(small) <= 2_000
    pd.testing.assert_frame_equal(small, sample.loc[: len(small) - 1, list(COLUMNS)])
    assert sample["group"][len(small)] not in set(small["group"])


def test_a_fifth_to_a_quarter_get_a_label_and_both_classes_are_well_filled(sample):
    is_labelled = sample["label"] >= 0
    assert 0.20 <= is_labelled.mean() <= 0.25
    assert 0.30 <= (sample.loc[is_labelled, "label"] == 1).mean() <= 0.70


def test_votes_are_heavy_tailed_and_do_not_give_the_label_away(labelled, sample):
    assert (sample["votes"] == 0).mean() > 0.03
    assert sample["votes"].max() > 30 * sample["votes"].mean()
    assert 0.4 <= roc_auc_score(labelled["label"], labelled["votes"]) <= 0.6


def test_articles_differ_in_how_widely_they_are_read(sample):
    votes = np.log1p(sample["votes"])
    between = votes.groupby(sample["group"]).mean().var()
    shuffled = votes.sample(frac=1, random_state=0).set_axis(votes.index).groupby(sample["group"]).mean().var()
    assert between > 3 * shuffled


def test_the_votes_agree_with_the_true_ratio_on_average(sample):
    voted = sample[sample["votes"] > 0]
    assert voted["ratio"].mean() == pytest.approx(voted["true_ratio"].mean(), abs=0.01)
    assert voted["ratio"].corr(voted["true_ratio"]) > 0.6


# --- What gives the label away, and what does not ---


def test_no_single_token_gives_the_label_away(labelled):
    for analyzer in ({"token_pattern": r"\S+"}, {"analyzer": "char_wb", "ngram_range": (1, 3)}):
        present = CountVectorizer(binary=True, min_df=5, **analyzer).fit_transform(labelled["text"])
        positive = (labelled["label"] == 1).to_numpy()
        auroc = 0.5 + (present[positive].mean(axis=0) - present[~positive].mean(axis=0)) / 2
        assert 0.40 < auroc.min() < 0.5 < auroc.max() < 0.60


@pytest.mark.parametrize("analyzer", [{"analyzer": "char_wb", "ngram_range": (2, 4)}, {"ngram_range": (1, 2)}])
def test_a_linear_model_of_ngrams_lies_between_chance_and_five_points_under_the_ceiling(labelled, analyzer):
    train, validation = (labelled[labelled["split"] == split] for split in ("train", "validation"))
    vectorizer = TfidfVectorizer(min_df=2, sublinear_tf=True, **analyzer)
    model = LogisticRegression(class_weight="balanced", max_iter=1000)
    model.fit(vectorizer.fit_transform(train["text"]), train["label"])
    score = model.predict_proba(vectorizer.transform(validation["text"]))[:, 1]
    assert 0.55 < roc_auc_score(validation["label"], score) < ceiling_auroc(validation) - 0.05


def test_readers_split_over_the_interplay_and_not_over_kind_or_stance_alone():
    contents = [(kind, stance, reason) for kind in KINDS for stance in STANCES for reason in REASONS]
    splits = pd.DataFrame(contents, columns=["kind", "stance", "reason"])
    splits["split"] = [is_split(*content) for content in contents]
    assert splits.groupby("kind")["split"].mean().between(0.3, 0.6).all()
    assert splits.groupby("stance")["split"].mean().between(0.3, 0.6).all()
    undecided_by_reason = splits.groupby("reason")["split"].mean().between(0.2, 0.8)
    assert undecided_by_reason.sum() == 6


def test_without_kind_or_without_stance_the_reason_does_not_tell():
    assert is_split("rules", "for", "taste") and not is_split("food", "for", "taste")
    assert is_split("food", "against", "taste")
    assert is_split("food", "against", "cost") and not is_split("rules", "against", "cost")
    assert is_split("rules", "for", "cost")
    assert is_split("rules", "against", "convenience") and not is_split("rules", "for", "convenience")
    assert not is_split("food", "against", "convenience")
    assert is_split("food", "for", "habit") and not is_split("food", "against", "habit")
    assert not is_split("rules", "for", "habit")
    assert not any(is_split(kind, stance, "safety") for kind in KINDS for stance in STANCES)


# --- The ceiling ---


def test_the_ceiling_is_the_auroc_of_closeness_to_one_half():
    comments = pd.DataFrame({"true_ratio": [0.5, 0.55, 0.2, 0.9, 0.48], "label": [1, 0, 0, 1, -1]})
    # Pairs (1, 0): .5 beats .55 and .2; .9 loses to both: 2 of 4.
    assert ceiling_auroc(comments) == pytest.approx(0.5)
    comments["label"] = [1, 1, 0, 0, -1]
    assert ceiling_auroc(comments) == 1.0


def test_ties_in_the_ceiling_count_one_half():
    comments = pd.DataFrame({"true_ratio": [0.4, 0.6, 0.4], "label": [1, 0, 0]})
    assert ceiling_auroc(comments) == pytest.approx(0.5)


def test_the_ceiling_needs_both_classes_and_the_true_ratio():
    with pytest.raises(ValueError, match="true_ratio"):
        ceiling_auroc(pd.DataFrame({"label": [0, 1]}))
    with pytest.raises(ValueError, match="both classes"):
        ceiling_auroc(pd.DataFrame({"label": [1, 1], "true_ratio": [0.5, 0.5]}))


def test_even_knowing_which_side_readers_are_on_does_not_beat_the_ceiling(labelled):
    signed = labelled["true_ratio"].round(1)
    rates = labelled["label"].groupby(signed).transform("mean")
    assert roc_auc_score(labelled["label"], rates) <= ceiling_auroc(labelled) + 0.005


def test_votes_are_drawn_alike_on_both_sides_of_one_half():
    import random

    rng = random.Random(0)
    liked = [draw_votes(rng, 0.8, 50.0) for _ in range(2_000)]
    disliked = [draw_votes(rng, 0.2, 50.0) for _ in range(2_000)]
    mean_liked = np.mean([likes / (likes + dislikes) for likes, dislikes in liked if likes + dislikes])
    mean_disliked = np.mean([dislikes / (likes + dislikes) for likes, dislikes in disliked if likes + dislikes])
    assert mean_liked == pytest.approx(0.8, abs=0.01)
    assert mean_disliked == pytest.approx(0.8, abs=0.01)


# --- The texts ---


def test_exact_duplicates_are_rare_and_near_duplicates_are_planted(sample):
    assert sample["text"].duplicated().mean() <= 0.02
    clusters = pd.Series(near_duplicate_clusters(sample["text"]), index=sample.index)
    joined = clusters[clusters.duplicated(keep=False)]
    assert len(joined) >= COPY_SHARE * len(sample)
    assert (sample["group"].groupby(clusters).nunique() > 1).sum() >= 50
    assert clusters.value_counts().max() <= 100  # no avalanche of chance likenesses


def test_most_comments_have_several_sentences(sample):
    parts = sample["text"].str.split(r"(?<=[.!?~])\s+|\n")
    assert (parts.str.len() > 1).mean() > 0.6


@pytest.mark.parametrize(
    ("pattern", "least"),
    [
        (r"ㅋㅋ", 0.03),
        (r"ㅠ|ㅜ", 0.02),
        (r"[\U0001F300-\U0001FAFF]", 0.02),
        (r"요(?:[.!?~ ]|$)|니다", 0.2),
        (r"^.{1,5}$", 0.005),
        (r"https://example\.com/", 0.003),
        (r"[^\s]{14,}", 0.01),
        (r"\n", 0.02),
    ],
)
def test_the_style_is_that_of_comments_on_the_web(sample, pattern, least):
    assert sample["text"].str.contains(pattern).mean() >= least


def test_no_text_has_two_blanks_in_a_row(sample):
    assert not sample["text"].str.contains("  ", regex=False).any()


def test_links_go_nowhere_but_to_example_com(sample):
    links = sample["text"].str.extractall(r"(https?://[^/\s]+|www\.\S+)")[0]
    assert set(links) == {"https://example.com"}


def test_there_are_twenty_topics_or_more_in_kinds_of_equal_size():
    assert sum(len(kind.topics) for kind in KINDS.values()) >= 20
    assert {len(kind.topics) for kind in KINDS.values()} == {6}


def test_each_reason_and_stance_has_many_wordings_of_its_own():
    for reason in REASONS.values():
        assert len(set(reason.nouns)) >= 25
        assert len(set(reason.clauses)) >= 12
    assert min(len(set(wordings)) for wordings in JUDGEMENTS.values()) >= 15
    for part in ("nouns", "clauses"):
        wordings = [wording for reason in REASONS.values() for wording in getattr(reason, part)]
        assert len(wordings) == len(set(wordings))


def test_every_predicate_can_be_put_into_every_ending():
    predicates = [clause for reason in REASONS.values() for clause in reason.clauses]
    predicates += [judgement for stance in JUDGEMENTS.values() for judgement in stance]
    predicates += [predicate for _, predicate in WEIGHTS]
    for predicate in predicates:
        for ending in {ending for endings in ENDINGS.values() for ending in endings}:
            assert re.fullmatch(r"[가-힣 ]+", conjugate(predicate, ending))


# --- Korean ---


@pytest.mark.parametrize(
    ("noun", "particle", "expected"),
    [
        ("밥", "은", "밥은"),
        ("차", "은", "차는"),
        ("밥", "이", "밥이"),
        ("차", "이", "차가"),
        ("물", "을", "물을"),
        ("차", "을", "차를"),
        ("빵", "이나", "빵이나"),
        ("차", "이랑", "차랑"),
        ("물", "으로", "물로"),
        ("빵", "으로", "빵으로"),
        ("차", "으로", "차로"),
        ("빵", "부터", "빵부터"),
    ],
)
def test_a_particle_follows_the_final_consonant(noun, particle, expected):
    assert add_particle(noun, particle) == expected


@pytest.mark.parametrize(
    ("plain", "ending", "expected"),
    [
        ("비싸다", "어", "비싸"),
        ("좋다", "어요", "좋아요"),
        ("싫다", "어", "싫어"),
        ("크다", "어", "커"),
        ("바쁘다", "어", "바빠"),
        ("다르다", "어요", "달라요"),
        ("어렵다", "어", "어려워"),
        ("어렵다", "음", "어려움"),
        ("좁다", "어", "좁아"),
        ("낫다", "어", "나아"),
        ("아니다", "어요", "아니에요"),
        ("늘어난다", "어", "늘어나"),
        ("먹는다", "어", "먹어"),
        ("안 된다", "어", "안 돼"),
        ("생각해야 한다", "어요", "생각해야 해요"),
        ("걸린다", "어", "걸려"),
        ("돈이 든다", "어", "돈이 들어"),
        ("돈이 든다", "네", "돈이 드네"),
        ("돈이 든다", "습니다", "돈이 듭니다"),
        ("돈이 든다", "는데", "돈이 드는데"),
        ("봤다", "어", "봤어"),
        ("봤다", "는데", "봤는데"),
        ("비싸다", "는데", "비싼데"),
        ("좋다", "는데", "좋은데"),
        ("없다", "는데", "없는데"),
        ("된다", "음", "됨"),
        ("좋다", "음", "좋음"),
        ("힘들다", "음", "힘듦"),
        ("된다", "ㄹ듯", "될 듯"),
        ("좋다", "ㄹ듯", "좋을 듯"),
        ("좋다", "습니다", "좋습니다"),
        ("한다", "습니다", "합니다"),
        ("문제이다", "다", "문제다"),
        ("핵심이다", "다", "핵심이다"),
        ("문제이다", "어", "문제야"),
        ("핵심이다", "어요", "핵심이에요"),
        ("문제이다", "음", "문제임"),
        ("핵심이다", "거든", "핵심이거든"),
        ("문제이다", "ㄹ듯", "문제일 듯"),
        ("문제이다", "습니다", "문제입니다"),
    ],
)
def test_predicates_are_conjugated_as_in_a_grammar(plain, ending, expected):
    assert conjugate(plain, ending) == expected


def test_what_is_not_a_predicate_or_an_ending_is_refused():
    with pytest.raises(ValueError, match="plain present"):
        conjugate("비싸", "어")
    with pytest.raises(ValueError, match="unknown ending"):
        conjugate("비싸다", "구나")


def test_syllables_are_taken_apart_and_put_together_again():
    assert split_syllable("값") == ("ㄱ", "ㅏ", "ㅄ")
    for syllable in "가각힣뷁쌀":
        assert join_syllable(*split_syllable(syllable)) == syllable
    with pytest.raises(ValueError, match="not a Hangul syllable"):
        split_syllable("a")


# --- Measuring ---


def test_the_measuring_command_reports_what_the_card_quotes(sample):
    figures = measure(sample[list(COLUMNS)])
    assert figures["comments"] == 20_000
    assert figures["labelled share"] == pytest.approx((sample["label"] >= 0).mean())
    assert figures["ceiling AUROC"] == pytest.approx(ceiling_auroc(sample))


# --- The labelled comments ---


def test_three_opinions_are_well_filled_and_some_comments_have_none():
    opinions = generate_opinions()
    shares = opinions["label"].value_counts(normalize=True)
    assert len(opinions) == OPINIONS and set(shares.index) == {"찬성", "반대", "중립", ""}
    assert shares[["찬성", "반대", "중립"]].min() > 0.15 and 0.08 < shares[""] < 0.16


def test_an_opinion_can_be_told_from_its_words():
    opinions = generate_opinions()
    labelled = opinions[opinions["label"] != ""]
    train, held_out = labelled.iloc[:900], labelled.iloc[900:]
    vectorizer = TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 3), min_df=2, sublinear_tf=True)
    model = LogisticRegression(max_iter=1000).fit(vectorizer.fit_transform(train["text"]), train["label"])
    assert model.score(vectorizer.transform(held_out["text"]), held_out["label"]) > 0.8
