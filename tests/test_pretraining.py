"""Both pretraining tasks by hand, and the checkpoint held against PyTorch Transformers."""

import itertools
import shutil
from pathlib import Path

import nbformat
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from utils.bert import load_tokenizer
from utils.checkpoints import CheckpointError
from utils.files import ROOT
from utils.pretraining import (
    CLS,
    MASK,
    PAD,
    SEP,
    SPECIAL_TOKENS,
    Pair,
    PretrainingBatches,
    build_pretraining_model,
    draw_pair,
    load_pretraining_model,
    mask_tokens,
    pack_pairs,
    save_checkpoint,
    split_sentences,
    train_wordpiece,
)

VOCABULARY = [*SPECIAL_TOKENS, *(chr(0xAC00 + code) for code in range(55))]
ROWS = np.array([[CLS, *range(5, 25), SEP, *([PAD] * 10)]] * 500, np.int32)


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("좋아요. 싫어요!", ["좋아요.", "싫어요!"]),
        ("좋아요ㅋㅋㅋ 싫어요ㅠㅠ", ["좋아요ㅋㅋㅋ", "싫어요ㅠㅠ"]),
        ("평점 3.5 줍니다", ["평점 3.5 줍니다"]),
        ("한 줄\n두 줄", ["한 줄", "두 줄"]),
        ("좋아요. ㅋㅋ", ["좋아요. ㅋㅋ"]),
        ("  ", []),
    ],
)
def test_sentences_end_where_a_reader_would_end_them(text: str, sentences: list[str]) -> None:
    assert split_sentences(text) == sentences


def test_wordpiece_breaks_ties_the_same_way_every_time() -> None:
    words = ["".join(pair) for pair in itertools.permutations("가나다라마바사아자차", 3)]
    first, *others = (train_wordpiece(words, vocabulary_size=60) for _ in range(4))
    assert all(other == first for other in others)


def test_wordpiece_keeps_the_frequent_characters_only() -> None:
    vocabulary = train_wordpiece(["가나 가나 가다", "라"], vocabulary_size=40, max_characters=2)
    assert {"가", "나", "##나"} <= set(vocabulary)
    assert not {"다", "##다", "라"} & set(vocabulary)


def test_wordpiece_has_special_tokens_first_and_keeps_hangul_whole() -> None:
    vocabulary = train_wordpiece(["도서관 도서관 급식"] * 20, vocabulary_size=40)
    assert vocabulary[:5] == SPECIAL_TOKENS
    assert "도서관" in vocabulary
    assert len(vocabulary) <= 40


def test_masking_hides_15_percent_by_the_80_10_10_rule() -> None:
    masked = mask_tokens(ROWS, np.random.default_rng(0), vocabulary_size=60)
    used = masked.weights > 0
    assert (used.sum(1) == 3).all()  # 15 % of 20 ordinary tokens
    shown = np.take_along_axis(masked.token_ids, masked.positions, 1)[used]
    original = np.take_along_axis(ROWS, masked.positions, 1)[used]
    np.testing.assert_array_equal(masked.labels[used], original)
    assert np.mean(shown == MASK) == pytest.approx(0.8, abs=0.04)
    assert np.mean(shown == original) == pytest.approx(0.1, abs=0.04)


def test_masking_never_chooses_a_special_token_or_changes_another_place() -> None:
    masked = mask_tokens(ROWS, np.random.default_rng(0), vocabulary_size=60)
    assert (masked.labels[masked.weights > 0] >= len(SPECIAL_TOKENS)).all()
    changed = masked.token_ids != ROWS
    chosen = np.zeros_like(changed)
    np.put_along_axis(chosen, masked.positions, masked.weights > 0, 1)
    assert not (changed & ~chosen).any()


def test_half_of_the_pairs_get_a_sentence_of_another_comment() -> None:
    comments = [[[10, 11], [12, 13]], [[20], [21]], [[30], [31]]]
    random = np.random.default_rng(0)
    pairs = [draw_pair(comments, 0, random) for _ in range(2000)]
    assert np.mean([pair.replaced for pair in pairs]) == pytest.approx(0.5, abs=0.04)
    assert all((pair.second == [12, 13]) == (pair.replaced == 0) for pair in pairs)


def test_a_comment_of_one_sentence_trains_masked_lm_alone() -> None:
    assert draw_pair([[[10]], [[20], [21]]], 0, np.random.default_rng(0)) == Pair([10], [], 0, 0.0)


def test_pairs_are_packed_with_separators_and_the_longer_sentence_is_cut() -> None:
    token_ids, segment_ids = pack_pairs([Pair([10] * 9, [20, 21], 0, 1.0), Pair([10], [], 0, 0.0)], 8)
    assert token_ids[0].tolist() == [CLS, 10, 10, 10, SEP, 20, 21, SEP]
    assert segment_ids[0].tolist() == [0, 0, 0, 0, 0, 1, 1, 1]
    assert token_ids[1].tolist() == [CLS, 10, SEP, PAD, PAD, PAD, PAD, PAD]


def test_the_same_seed_deals_the_same_batches_and_an_epoch_sees_every_comment() -> None:
    comments = [[[10 + row], [30 + row]] for row in range(8)]
    make = {"vocabulary_size": 60, "steps": 2, "batch_size": 4, "length": 12, "seed": 3}
    one, other = PretrainingBatches(comments, **make), PretrainingBatches(comments, **make)
    for name, values in one[1][0].items():
        np.testing.assert_array_equal(values, other[1][0][name])
    assert sorted(one.deal(0) + one.deal(1)) == list(range(8))


@pytest.mark.parametrize(("share", "guessed"), [(0.15, 3), (0.3, 6)])
def test_the_batches_hide_the_share_that_they_are_told(share: float, guessed: int) -> None:
    comments = [[list(range(5, 25))]] * 4
    batches = PretrainingBatches(
        comments, vocabulary_size=60, steps=1, batch_size=4, length=22, mask_share=share, seed=0
    )
    assert (batches[0][2]["masked_lm"].sum(1) == guessed).all()


@pytest.fixture(scope="module")
def small_backbone():
    import keras
    from keras_hub.models import BertBackbone

    keras.utils.set_random_seed(0)
    return BertBackbone(
        vocabulary_size=60, num_layers=2, num_heads=2, hidden_dim=16, intermediate_dim=32, max_sequence_length=32
    )


@pytest.fixture(scope="module")
def checkpoint(small_backbone, tmp_path_factory: pytest.TempPathFactory) -> tuple:
    model = build_pretraining_model(small_backbone)
    random = np.random.default_rng(0)  # away from zero biases and unit norms, which would hide a swapped tensor
    model.set_weights([weight + random.normal(0, 0.1, weight.shape) for weight in model.get_weights()])
    folder = tmp_path_factory.mktemp("checkpoint") / "bert-tiny"
    save_checkpoint(model, VOCABULARY, folder)
    return model, folder


def inputs() -> dict[str, np.ndarray]:
    token_ids, segment_ids = pack_pairs([Pair([10, 11, 12], [20, 21], 0, 1.0), Pair([30, 31], [], 0, 0.0)], 10)
    mask = (token_ids != PAD).astype(np.int32)
    return {
        "token_ids": token_ids,
        "segment_ids": segment_ids,
        "padding_mask": mask,
        "mask_positions": np.array([[1, 2], [1, 2]], np.int32),
    }


def test_a_saved_checkpoint_comes_back_with_both_heads(checkpoint: tuple) -> None:
    model, folder = checkpoint
    again = load_pretraining_model(folder).predict(inputs(), verbose=0)
    for name, values in model.predict(inputs(), verbose=0).items():
        np.testing.assert_allclose(again[name], values, atol=1e-5)


def test_pytorch_transformers_gives_the_same_logits_of_both_heads(checkpoint: tuple) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is for comparisons only: requirements-torch.txt")
    from transformers import BertForPreTraining

    model, folder = checkpoint
    ours, batch = model.predict(inputs(), verbose=0), inputs()
    peer = BertForPreTraining.from_pretrained(folder, attn_implementation="eager").eval()
    with torch.no_grad():
        theirs = peer(
            input_ids=torch.tensor(batch["token_ids"], dtype=torch.long),
            token_type_ids=torch.tensor(batch["segment_ids"], dtype=torch.long),
            attention_mask=torch.tensor(batch["padding_mask"], dtype=torch.long),
        )
    masked = np.take_along_axis(theirs.prediction_logits.numpy(), batch["mask_positions"][:, :, None], 1)
    np.testing.assert_allclose(ours["masked_lm"], masked, atol=2e-5)
    np.testing.assert_allclose(ours["next_sentence"], theirs.seq_relationship_logits.numpy(), atol=2e-5)


@pytest.mark.parametrize("names", [("weight", "bias"), ("gamma", "beta")])
def test_a_masked_lm_head_without_next_sentence_guesses_as_in_pytorch(checkpoint: tuple, tmp_path: Path, names) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is for comparisons only: requirements-torch.txt")
    from transformers import BertForMaskedLM

    folder = shutil.copytree(checkpoint[1], tmp_path / "copy")
    stored = load_file(folder / "model.safetensors")
    kept = {name: value for name, value in stored.items() if "seq_relationship" not in name}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    peer = BertForMaskedLM.from_pretrained(folder, attn_implementation="eager").eval()
    norm = "cls.predictions.transform.LayerNorm"
    for old, new in zip(("weight", "bias"), names, strict=True):
        kept[f"{norm}.{new}"] = kept.pop(f"{norm}.{old}")
    save_file(kept, folder / "model.safetensors")
    batch = inputs()
    with torch.no_grad():
        theirs = peer(
            input_ids=torch.tensor(batch["token_ids"], dtype=torch.long),
            token_type_ids=torch.tensor(batch["segment_ids"], dtype=torch.long),
            attention_mask=torch.tensor(batch["padding_mask"], dtype=torch.long),
        ).logits.numpy()
    masked = np.take_along_axis(theirs, batch["mask_positions"][:, :, None], 1)
    ours = load_pretraining_model(folder).predict(batch, verbose=0)["masked_lm"]
    np.testing.assert_allclose(ours, masked, atol=2e-5)


def test_a_checkpoint_without_masked_lm_head_is_refused(checkpoint: tuple, tmp_path: Path) -> None:
    folder = shutil.copytree(checkpoint[1], tmp_path / "copy")
    stored = load_file(folder / "model.safetensors")
    save_file({name: value for name, value in stored.items() if name.startswith("bert.")}, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match="no masked-LM head"):
        load_pretraining_model(folder)


def test_weights_stored_in_half_precision_come_back_nearly_the_same(checkpoint: tuple, tmp_path: Path) -> None:
    model, folder = checkpoint
    save_checkpoint(model, VOCABULARY, tmp_path / "half", dtype=np.float16)
    sizes = [(path / "model.safetensors").stat().st_size for path in (tmp_path / "half", folder)]
    assert sizes[0] < 0.6 * sizes[1]
    again = load_pretraining_model(tmp_path / "half").predict(inputs(), verbose=0)
    for name, values in model.predict(inputs(), verbose=0).items():
        assert again[name].dtype == np.float32
        np.testing.assert_allclose(again[name], values, atol=2e-2)


def test_the_masked_lm_bias_starts_at_the_frequency_of_the_tokens(small_backbone) -> None:
    model = build_pretraining_model(small_backbone, token_counts=[*([0] * 59), 940])
    frequencies = np.exp(np.asarray(model.get_layer("masked_lm")._bias))
    np.testing.assert_allclose(frequencies, [*([0.001] * 59), 0.941], rtol=1e-4)


def test_a_failed_save_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(AttributeError):
        save_checkpoint(None, VOCABULARY, tmp_path / "bert-tiny")  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_notebook_03_asks_every_checkpoint_for_the_words_it_has_a_vector_of(
    kcbert_shaped_checkpoint: Path, tmp_path: Path
) -> None:
    more = shutil.copytree(kcbert_shaped_checkpoint, tmp_path / "kcbert")
    tokens = (more / "vocab.txt").read_text(encoding="utf-8").splitlines()
    (more / "vocab.txt").write_text("\n".join([*tokens[:-1], "배우"]) + "\n", encoding="utf-8")
    cells = {cell.id: cell.source for cell in nbformat.read(ROOT / "notebooks/03_bert_pretraining.ipynb", 4).cells}
    variables = {"vocabulary": [], "model": load_pretraining_model("mini"), "tokenizer": load_tokenizer("mini")}
    variables |= {"MORE_CHECKPOINTS": [str(more)], "load_pretraining_model": load_pretraining_model}
    for name in ("imports", "fill-mask", "fill-examples", "neighbours", "mini-fill", "mini-neighbours"):
        exec(compile(cells[name], name, "exec"), variables)
    assert list(variables["readers"]) == ["bert-mini", str(more)]
    neighbours = variables["tables"]
    assert list(neighbours["bert-mini"]) == variables["words"]
    assert list(neighbours[str(more)]) == ["배우"]
    assert len(set(neighbours[str(more)]["배우"]) - {"배우"}) == 6
