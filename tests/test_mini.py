"""utils.mini: what the shipped checkpoint is made of, at toy size, and the checkpoint itself."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from utils import mini
from utils.bert import encode_comments, load_backbone, load_tokenizer
from utils.checkpoints import MINI
from utils.mini import Encoded, MaskedBatches, Settings
from utils.pretraining import CLS, MASK, PAD, SEP, load_pretraining_model
from utils.run_folder import Run, save_comments, start_run
from utils.splits import split_by_group
from utils.text import clean_comment

REVIEWS = Path(__file__).resolve().parents[2] / "shared" / "data" / "movie140_dev.parquet"
TINY = Settings(
    vocabulary_size=400, fewest_groups=2, hidden_size=64, layers=1, intermediate_size=64, max_length=32, batch_size=8,
    steps=20, precision="float32",
)  # fmt: skip


def encoded(*lengths: int) -> Encoded:
    """Comments of so many tokens: [CLS], 5, 6, 7, ..., [SEP]."""
    rows = [[CLS, *range(5, length + 3), SEP] for length in lengths]
    return Encoded(np.array([i for row in rows for i in row], np.int32), np.cumsum([0, *lengths]))


def batches(comments: Encoded, **settings) -> MaskedBatches:
    return MaskedBatches(comments, **{"vocabulary_size": 60, "steps": 4, "batch_size": 2, "mask_share": 0.5} | settings)


@pytest.fixture(scope="module")
def comments() -> pd.DataFrame:
    random = np.random.default_rng(0)
    words = ["영화", "배우", "연기", "감동", "지루", "최고", "별로", "음악", "결말", "아쉬움"]
    text = [" ".join(random.choice(words, 6)) for _ in range(600)]
    split = random.choice(["train", "validation", "test", "dropped"], 600, p=[0.6, 0.2, 0.1, 0.1])
    group = [f"{part}-{number % 20}" for number, part in enumerate(split)]
    return pd.DataFrame({"text": text, "group": group, "split": split})


@pytest.fixture
def run(comments, tmp_path) -> Run:
    labelling = {"band": [0.3, 0.7], "confidence_level": 0.95, "min_votes": 20}
    run = start_run(tmp_path / "run", dataset="sample", dataset_sha256="", columns={}, seed=0, labelling=labelling)
    save_comments(run, comments)
    return run


def test_no_test_comment_and_no_dropped_copy_is_learned_from_or_measured_on(comments):
    learned, measured = mini.choose_comments(comments)
    assert set(learned["split"]) == {"train", "validation"}
    assert set(measured["split"]) == {"validation"}
    assert (comments["split"] == "train").sum() == (learned["split"] == "train").sum()


def test_the_groups_measured_on_are_about_half_of_the_validation_groups_and_whole(comments):
    learned, measured = mini.choose_comments(comments)
    assert not set(learned["group"]) & set(measured["group"])
    assert 4 <= measured["group"].nunique() <= 16


def test_every_word_piece_stands_under_enough_groups(tmp_path):
    texts = ["영화 최고"] * 6 + ["홍길동 최고"] * 5
    groups = [0, 1, 2, 3, 4, 5, 6, 6, 6, 6, 6]
    found = mini.learn_vocabulary(texts, groups, TINY, tmp_path)
    vocabulary = mini.read_vocabulary(tmp_path)
    assert {"영화", "최고"} <= set(vocabulary)
    assert not {"홍길동", "홍", "##길", "##동"} & set(vocabulary)
    assert mini.groups_of_tokens(found, groups, len(vocabulary))[5:].min() >= TINY.fewest_groups


def test_a_word_piece_under_fifty_films_stays_and_one_under_forty_nine_goes(tmp_path):
    texts = [f"영화 최고 {'감독' if film < 50 else ''} {'배우' if film < 49 else ''}" for film in range(55)]
    settings = dataclasses.replace(TINY, fewest_groups=Settings().fewest_groups)
    again = texts + [texts[0]] * 20  # more comments under a film that is counted already
    mini.learn_vocabulary(again, [*range(55), *[0] * 20], settings, tmp_path)
    vocabulary = set(mini.read_vocabulary(tmp_path))
    assert Settings().fewest_groups == 50
    assert {"영화", "최고", "감독"} <= vocabulary
    assert not {"배우", "배", "##우"} & vocabulary


def test_groups_are_counted_once_however_often_a_token_stands_there():
    counts = mini.groups_of_tokens(encoded(3, 3, 4), ["a", "a", "b"], 8)
    assert counts.tolist() == [0, 0, 2, 2, 0, 2, 1, 0]


def test_each_comment_comes_once_before_any_comes_again():
    lengths = list(range(4, 54)) * 4
    dealt = batches(encoded(*lengths), steps=100)
    rows = np.concatenate([dealt.deal(number) for number in range(100)])
    assert sorted(rows.tolist()) == list(range(200))


def test_batches_hold_comments_of_similar_length_in_multiples_of_eight_tokens():
    lengths = [4, 30] * 100
    dealt = batches(encoded(*lengths), steps=100)
    widths = [dealt[number][0]["token_ids"].shape[1] for number in range(1, 100)]
    assert set(widths) == {8, 32}


def test_the_first_two_batches_differ_in_width_so_that_keras_knows_that_it_varies():
    dealt = batches(encoded(*[12] * 200), steps=100)
    assert [dealt[number][0]["token_ids"].shape[1] for number in range(3)] == [24, 16, 16]


def test_a_batch_depends_on_seed_and_number_alone():
    comments = encoded(*range(4, 60))
    first, again, other = (batches(comments, seed=seed) for seed in (0, 0, 1))
    first.epoch = again.epoch = 1
    assert np.array_equal(first[2][0]["token_ids"], again[2][0]["token_ids"])
    assert not np.array_equal(first.deal(0), other.deal(0))


def test_single_comments_train_masked_lm_alone():
    _, labels, weights = batches(encoded(10, 10, 10, 10))[1]
    assert weights["masked_lm"].sum() == 8  # half of eight ordinary tokens, in two comments
    assert (labels["masked_lm"][weights["masked_lm"] > 0] >= 5).all()
    assert not weights["next_sentence"].any()


def test_the_pieces_of_a_word_are_hidden_together():
    continuation = np.zeros(60, bool)
    continuation[[6, 8, 10, 12]] = True  # words: 5 6, 7 8, 9 10, 11 12
    dealt = batches(encoded(*[10] * 200), continuation=continuation, steps=100, mask_share=0.5)
    for number in range(1, 20):
        _, labels, weights = dealt[number]
        for row, used in zip(labels["masked_lm"], weights["masked_lm"] > 0, strict=True):
            chosen = set(row[used].tolist())
            assert chosen == {
                token for pair in ((5, 6), (7, 8), (9, 10), (11, 12)) for token in pair if pair[0] in chosen
            }


def always(token: int):
    """A network that writes the same token everywhere."""

    def model(inputs):
        scores = np.zeros((*inputs["mask_positions"].shape, 60), np.float32)
        scores[..., token] = 1
        return {"masked_lm": scores}

    return model


def test_the_second_half_of_a_comment_is_hidden_and_written_until_a_token_is_wrong():
    shown = []

    def model(inputs):
        shown.append(inputs["token_ids"].tolist())
        return always(7)(inputs)

    token_ids = [[CLS, 5, 6, 7, 7, SEP], [CLS, 5, 6, 8, 7, SEP], [CLS, 5, 7, SEP, PAD, PAD]]
    assert mini.completed(model, np.array(token_ids, np.int32)).tolist() == [True, False, True]
    hidden = [CLS, 5, 6, MASK, MASK, SEP]
    assert shown == [[hidden, hidden, [CLS, 5, MASK, SEP, PAD, PAD]], [[CLS, 5, 6, 7, MASK, SEP]]]


def test_a_comment_counts_as_completed_only_if_every_token_is_right(monkeypatch):
    monkeypatch.setattr(mini, "tells_something", lambda token_ids: True)
    ids = [CLS, *[5] * 10, *[7] * 10, SEP, CLS, *[5] * 10, *[7] * 9, 8, SEP]
    comments = Encoded(np.array(ids, np.int32), np.array([0, 22, 44]))
    assert mini.count_completed(always(7), comments, rows=2) == 1


@pytest.mark.parametrize(
    ("ids", "telling"),
    [
        ([CLS, *range(5, 23), SEP], True),
        ([CLS, *range(5, 22), SEP], False),  # 19 tokens
        ([CLS, *[5] * 18, SEP], False),
        ([CLS, *[5] * 15, 6, 7, 8, SEP], True),
        ([CLS, *[5] * 16, 6, 7, SEP], False),
    ],
)
def test_repetition_and_short_comments_tell_nothing(ids, telling):
    assert mini.tells_something(np.array(ids)) is telling


def test_the_whole_way_at_toy_size_ends_in_a_checkpoint_that_pytorch_reads(run, comments, tmp_path, monkeypatch):
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    monkeypatch.setattr(mini, "count_completed", lambda model, comments: 0)
    mini.make_mini(run, tmp_path / "checkpoint", TINY)
    record = json.loads((tmp_path / "checkpoint" / mini.RECORD).read_text())
    assert len(record["history"]["val_masked_lm_loss"]) == mini.EPOCHS
    assert record["comments"] == len(mini.choose_comments(comments)[0])
    card = (tmp_path / "checkpoint" / "README.md").read_text()
    assert f"| {TINY.steps} | {record['history']['masked_lm_loss'][-1]:.3f} |" in card
    token_ids = np.array([[CLS, 7, 8, 9, SEP]], np.int32)
    ours = load_backbone(tmp_path / "checkpoint")(
        {"token_ids": token_ids, "segment_ids": token_ids * 0, "padding_mask": token_ids * 0 + 1}
    )
    theirs = transformers.BertModel.from_pretrained(tmp_path / "checkpoint")
    with torch.no_grad():
        hidden = theirs.eval()(torch.tensor(token_ids.astype(np.int64))).last_hidden_state.numpy()
    assert np.asarray(ours["sequence_output"]) == pytest.approx(hidden, abs=1e-4)


def test_a_run_folder_of_another_dataset_is_named(run, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["mini", "--run-dir", str(run.folder)])
    with pytest.raises(SystemExit):
        mini.main()
    assert "Stopped: DATASET is 'movie-reviews' here, but" in capsys.readouterr().err


# ------------------------------------------------------------------------------------- the shipped checkpoint


@pytest.fixture(scope="module")
def reviews() -> pd.DataFrame:
    """Real reviews of the films that it read."""
    if not REVIEWS.is_file():
        pytest.skip("the real reviews are not here")
    rows = pd.read_parquet(REVIEWS, columns=["movie_id", "text"]).rename(columns={"movie_id": "group"})
    rows = rows.assign(cluster=np.arange(len(rows)))  # each its own: copies are not left out
    learned, _ = mini.choose_comments(rows.assign(split=split_by_group(rows)))
    return learned


def test_the_checkpoint_is_small_and_holds_data_alone():
    sizes = {path.name: path.stat().st_size for path in MINI.iterdir()}
    expected = {
        "README.md",
        "config.json",
        "model.safetensors",
        "pretraining.json",
        "tokenizer_config.json",
        "vocab.txt",
    }
    assert set(sizes) == expected
    assert sum(sizes.values()) <= 12e6
    record = json.loads((MINI / mini.RECORD).read_text(encoding="utf-8"))
    assert record["comments"] >= 1_500_000
    assert record["settings"]["vocabulary_size"] == len(mini.read_vocabulary(MINI))


def test_the_card_says_what_the_record_says():
    record = json.loads((MINI / mini.RECORD).read_text(encoding="utf-8"))
    assert (MINI / "README.md").read_text(encoding="utf-8") == mini.card(record)


def test_the_checkpoint_gives_the_same_vectors_in_pytorch_transformers():
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    theirs = transformers.BertModel.from_pretrained(MINI, attn_implementation="eager").eval()
    token_ids = np.array([[CLS, *range(500, 530), SEP]], np.int32)
    inputs = {"token_ids": token_ids, "segment_ids": token_ids * 0, "padding_mask": token_ids * 0 + 1}
    with torch.no_grad():
        hidden = theirs(torch.tensor(token_ids.astype(np.int64))).last_hidden_state.numpy()
    assert np.asarray(load_backbone("mini")(inputs)["sequence_output"]) == pytest.approx(hidden, abs=1e-4)


def test_what_it_learnt_is_better_than_the_most_frequent_token():
    model, tokenizer = load_pretraining_model("mini"), load_tokenizer("mini")
    before, after = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in ("배우들의", "정말 좋았다."))
    token_ids = np.array([[CLS, *before, MASK, *after, SEP]], np.int32)
    inputs = {"token_ids": token_ids, "segment_ids": token_ids * 0, "padding_mask": token_ids * 0 + 1}
    scores = np.asarray(model({**inputs, "mask_positions": np.array([[1 + len(before)]])})["masked_lm"])[0, 0]
    assert any(token.startswith("연기") for token in tokenizer.convert_ids_to_tokens(np.argsort(-scores)[:3].tolist()))


def test_no_review_it_was_trained_on_is_completed_word_for_word(reviews):  # but those that only repeat themselves
    rows = encode_comments(
        load_tokenizer("mini"), reviews["text"].sample(20_000, random_state=1).map(clean_comment), 128
    )
    comments = Encoded(np.concatenate([np.array(row, np.int32) for row in rows]), np.cumsum([0, *map(len, rows)]))
    assert mini.count_completed(load_pretraining_model("mini"), comments, rows=1000) == 0


@pytest.mark.long
def test_every_word_piece_of_the_checkpoint_stands_under_fifty_films(reviews):
    size = len(mini.read_vocabulary(MINI))
    found = mini.encode(reviews["text"].map(clean_comment).tolist(), MINI / "vocab.txt", 128)
    assert mini.groups_of_tokens(found, reviews["group"], size)[5:].min() >= Settings().fewest_groups
