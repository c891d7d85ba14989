"""Splits keep groups whole and copies together, whatever the order or company of the rows."""

from itertools import combinations
from random import Random

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.splits import (
    TooFewLabelsError,
    check_enough_labels,
    group_folds,
    label_subset,
    near_duplicate_clusters,
    split_by_group,
)

LONG = "이 정책은 주민 모두에게 도움이 되는 방향으로 다시 설계되어야 한다고 생각합니다"
OTHER = "전혀 다른 이야기를 하는 긴 댓글을 하나 더 적어 둡니다"
COPIES = st.sampled_from([LONG, LONG + " ㅋㅋㅋ", LONG[:-3] + "해요", "최고", "최고예요", OTHER, "가나다라마바사" * 5])
TEXTS = st.lists(COPIES, min_size=1)
ANY_TEXT = COPIES | st.text(max_size=40)
ROWS = st.lists(st.tuples(ANY_TEXT, st.sampled_from("가나다라마") | st.text(max_size=3)), min_size=1, max_size=12)
SEEDS = st.integers(0, 20)
FRACTIONS = st.sampled_from([(0.8, 0.1, 0.1), (0.4, 0.3, 0.3), (0.1, 0.1, 0.8)])


def table(texts: list[str], groups: list[str]) -> pd.DataFrame:
    comments = pd.DataFrame({"text": texts, "group": groups})
    return comments.assign(cluster=near_duplicate_clusters(comments["text"]))


def table_of(rows: list[tuple[str, str]]) -> pd.DataFrame:
    return table([text for text, _ in rows], [group for _, group in rows])


def many_groups(count: int = 400) -> pd.DataFrame:
    generator = np.random.default_rng(1)
    words = ["".join(chr(0xAC00 + code) for code in row) for row in generator.integers(0, 11_000, (count * 3, 30))]
    return table(words, [f"article-{i % count}" for i in range(count * 3)])


def test_groups_are_never_divided() -> None:
    comments = many_groups()
    assert (split_by_group(comments).groupby(comments["group"]).nunique() == 1).all()


def test_shares_of_groups_come_near_the_fractions() -> None:
    comments = many_groups(2000)
    shares = split_by_group(comments, fractions=(0.6, 0.2, 0.2)).value_counts(normalize=True)
    assert shares.to_dict() == pytest.approx({"train": 0.6, "validation": 0.2, "test": 0.2}, abs=0.04)


def test_split_depends_on_neither_row_order_nor_other_groups() -> None:
    comments = many_groups()
    split = split_by_group(comments)
    shuffled = comments.sample(frac=1, random_state=2)
    half = comments[comments["group"] < "article-3"]
    assert split_by_group(shuffled).sort_index().equals(split)
    assert split_by_group(half).equals(split[half.index])


def test_a_repeated_index_changes_neither_splits_nor_folds() -> None:
    comments = many_groups().assign(cluster=lambda rows: np.arange(len(rows)) // 2)
    repeated = comments.set_axis([0] * len(comments))
    split = split_by_group(comments)
    assert {"train", "dropped"} <= set(split)
    assert split_by_group(repeated).tolist() == split.tolist()
    folds = group_folds(comments.assign(split=split))
    assert group_folds(repeated.assign(split=split.tolist())).tolist() == folds.tolist()


def test_another_seed_gives_another_split() -> None:
    comments = many_groups()
    assert (split_by_group(comments, seed=0) != split_by_group(comments, seed=1)).mean() > 0.2


# --- Laws, for any input ---------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(ROWS, FRACTIONS, SEEDS)
def test_no_group_is_divided_whatever_the_rows(
    rows: list[tuple[str, str]], fractions: tuple[float, float, float], seed: int
) -> None:
    comments = table_of(rows)
    split = split_by_group(comments, fractions=fractions, seed=seed)
    kept = split[split != "dropped"]
    assert (kept.groupby(comments["group"]).nunique() == 1).all()


@settings(deadline=None)
@given(ROWS, FRACTIONS, SEEDS)
def test_no_near_duplicate_stands_in_two_splits_and_none_is_lost(
    rows: list[tuple[str, str]], fractions: tuple[float, float, float], seed: int
) -> None:
    comments = table_of(rows)
    split = split_by_group(comments, fractions=fractions, seed=seed)
    kept = split[split != "dropped"]
    assert (kept.groupby(comments["cluster"]).nunique() == 1).all()
    assert (kept.groupby(comments["text"]).nunique() == 1).all()
    assert set(comments.loc[kept.index, "cluster"]) == set(comments["cluster"])


@settings(deadline=None)
@given(ROWS, st.randoms(use_true_random=False), st.booleans(), SEEDS)
def test_the_order_of_rows_moves_none(rows: list[tuple[str, str]], random: Random, grouped: bool, seed: int) -> None:
    comments = table_of(rows) if grouped else table_of(rows).drop(columns="group")
    order = random.sample(range(len(rows)), len(rows))
    shuffled = comments.iloc[order].reset_index(drop=True)
    shuffled["cluster"] = near_duplicate_clusters(shuffled["text"])
    expected = split_by_group(comments, fractions=(0.4, 0.3, 0.3), seed=seed).iloc[order]
    assert split_by_group(shuffled, fractions=(0.4, 0.3, 0.3), seed=seed).tolist() == expected.tolist()


@settings(deadline=None)
@given(ROWS, ROWS, FRACTIONS, SEEDS)
def test_rows_of_new_groups_move_no_row_and_can_only_drop_it(
    rows: list[tuple[str, str]], more: list[tuple[str, str]], fractions: tuple[float, float, float], seed: int
) -> None:
    before = split_by_group(table_of(rows), fractions=fractions, seed=seed)
    new = [(text, f"new {group}") for text, group in more]
    after = split_by_group(table_of(rows + new), fractions=fractions, seed=seed)[: len(rows)]
    assert ((after == before) | (after == "dropped")).all()


def test_a_copy_in_a_new_group_does_drop_a_row() -> None:
    # By the SHA-256 of seed 0 and the name, group 6 stands at 0.961 (test) and group 3 at 0.103 (train).
    old, new = (LONG, "group 6"), (LONG, "group 3")
    assert split_by_group(table_of([old])).tolist() == ["test"]
    assert split_by_group(table_of([old, new])).tolist() == ["dropped", "train"]


def leaks(comments: pd.DataFrame, split: pd.Series) -> set[str]:
    """What two splits share: groups, and texts of which 80 % of the 4-character shingles agree, pair by pair."""
    kept = comments.assign(split=split)[split != "dropped"]
    shingles = [{text[i : i + 4] for i in range(len(text) - 3)} for text in kept["text"].str.replace(" ", "")]
    rows = zip(kept["split"], kept["group"], shingles, strict=True)
    found = set()
    for (one, group, some), (other, its_group, others) in combinations(rows, 2):
        if one != other:
            found |= {"group"} if group == its_group else set()
            found |= {"text"} if len(some & others) >= 0.8 * len(some | others) > 0 else set()
    return found


def test_planted_leaks_are_caught_and_a_split_of_ours_has_none() -> None:
    comments = many_groups(30)
    split = split_by_group(comments)
    train, test = split[split == "train"].index[0], split[split == "test"].index[0]
    assert leaks(comments, split) == set()
    assert leaks(comments, split.where(split.index != test, "train")) == {"group"}
    comments.loc[test, "text"] = comments.loc[train, "text"] + "!!"
    assert leaks(comments, split) == {"text"}
    comments["cluster"] = near_duplicate_clusters(comments["text"])
    again = split_by_group(comments)
    assert leaks(comments, again) == set()
    assert sorted(again[[train, test]]) == ["dropped", "train"]


def test_without_groups_the_cluster_is_the_unit() -> None:
    comments = many_groups(300).drop(columns="group")
    comments.loc[5, "text"] = comments.loc[6, "text"]
    comments["cluster"] = near_duplicate_clusters(comments["text"])
    split = split_by_group(comments)
    assert split[5] == split[6]
    assert "dropped" not in set(split)


@pytest.mark.parametrize("fractions", [(0.8, 0.2), (0.8, 0.3, 0.1), (1.0, 0.0, 0.0)])
def test_fractions_must_be_three_shares(fractions: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="fractions"):
        split_by_group(many_groups(3), fractions=fractions)


def test_copies_with_another_tail_spacing_or_case_share_a_cluster() -> None:
    copies = [LONG, LONG.replace(" ", "") + " ㅋㅋㅋ", LONG + " 😊", OTHER]
    clusters = near_duplicate_clusters(copies)
    assert clusters.tolist() == [0, 0, 0, 3]


def test_short_comments_are_joined_only_when_equal() -> None:
    assert near_duplicate_clusters(["최고", "최고!", "최고"]).tolist() == [0, 1, 0]


def test_empty_and_odd_texts_get_a_cluster() -> None:
    assert near_duplicate_clusters(["", "\0", "\ud800", "ㅋㅋ", ""]).tolist() == [0, 1, 2, 3, 0]


@settings(deadline=None)
@given(TEXTS, TEXTS)
def test_more_texts_never_part_a_cluster(texts: list[str], more: list[str]) -> None:
    alone = near_duplicate_clusters(texts)
    together = near_duplicate_clusters(texts + more)[: len(texts)]
    same_alone = alone[:, None] == alone[None, :]
    same_together = together[:, None] == together[None, :]
    assert (same_together | ~same_alone).all()


def test_folds_keep_groups_whole_and_leave_test_rows_out() -> None:
    comments = many_groups()
    comments["split"] = split_by_group(comments)
    folds = group_folds(comments, folds=5)
    usable = comments["split"].isin(["train", "validation"])
    assert (folds[usable].groupby(comments.loc[usable, "group"]).nunique() == 1).all()
    assert sorted(folds[usable].unique()) == [0, 1, 2, 3, 4]
    assert (folds[~usable] == -1).all()


def test_too_few_labels_say_which_split_and_class_and_what_gives_more() -> None:
    comments = pd.DataFrame({"split": ["train"] * 80 + ["validation"] * 20, "label": [0, 1] * 50})
    with pytest.raises(TooFewLabelsError, match="test split has 0 controversial.*MIN_VOTES"):
        check_enough_labels(comments)


def test_too_few_labels_of_a_class_of_ones_own_say_how_many_there_are() -> None:
    sizes = {"train": [40, 40, 40], "validation": [9, 9, 9], "test": [9, 4, 9]}
    rows = [(split, label) for split, counts in sizes.items() for label, n in enumerate(counts) for _ in range(n)]
    comments = pd.DataFrame(rows, columns=["split", "label"])
    with pytest.raises(
        TooFewLabelsError, match=r"test split has 4 comments with label '중립' and 5 .* \(the file has 53\)"
    ):
        check_enough_labels(comments, class_names=["긍정", "중립", "부정"])
    check_enough_labels(comments[comments["label"] != 1].replace({"label": {2: 1}}), class_names=["긍정", "부정"])


@given(SEEDS, st.integers(1, 200))
def test_a_label_budget_keeps_the_class_shares_and_is_part_of_every_larger_one(seed: int, budget: int) -> None:
    rows = pd.DataFrame({"label": [1] * 40 + [0] * 160}, index=range(500, 700))
    chosen = label_subset(rows, budget, seed=seed)
    assert len(chosen) == budget
    assert abs(chosen["label"].sum() - budget / 5) <= 1
    assert set(chosen.index) <= set(label_subset(rows, budget + 7, seed=seed).index)


def test_without_a_budget_all_rows_stay_as_they_are() -> None:
    rows = pd.DataFrame({"label": [1, 0, 0]}, index=[5, 3, 4])
    assert label_subset(rows, None, seed=0) is rows
