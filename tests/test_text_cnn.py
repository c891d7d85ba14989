from pathlib import Path
from typing import Any

import keras
import nbformat
import numpy as np
import pandas as pd
import pytest

from utils import text
from utils.files import ROOT
from utils.run_folder import save_comments, start_run
from utils.text import UNKNOWN
from utils.text_cnn import VARIANTS, build_text_cnn

V, D, LENGTH = 30, 6, 9
TABLE = np.random.default_rng(0).normal(size=(V, D)).astype(np.float32)
TABLE[0] = 0
IDS = np.random.default_rng(1).integers(1, V, (64, LENGTH)).astype(np.int32)
LABELS = (IDS > 26).any(axis=1).astype(np.int32)


def small(variant: str = "non-static", **arguments: object) -> keras.Model:
    keras.utils.set_random_seed(0)
    table = None if variant == "rand" else TABLE
    settings = {"max_length": LENGTH, "embeddings": table, "embedding_dim": D, "maps": 5} | arguments
    return build_text_cnn(V, variant=variant, **settings)  # type: ignore[arg-type]


def trained(variant: str, steps: int = 2, seed: int = 0, **arguments: object) -> keras.Model:
    model = small(variant, **arguments)
    keras.utils.set_random_seed(seed)
    model.compile(keras.optimizers.Adam(0.05), "sparse_categorical_crossentropy")
    model.fit(IDS, LABELS, epochs=steps, verbose=0)
    return model


def table_of(model: keras.Model, name: str = "vectors") -> np.ndarray:
    return model.get_layer(name).get_weights()[0]


def by_hand(model: keras.Model, vectors: np.ndarray) -> np.ndarray:
    """Kim's equations 2 to 4 written out for one comment of (channels, LENGTH, D) vectors."""
    features = []
    for window in (3, 4, 5):
        kernel, bias = model.get_layer(f"window_{window}").get_weights()
        left = (window - 1) // 2
        padded = np.pad(vectors, ((0, 0), (left, window - 1 - left), (0, 0)))
        for filter_weights, offset in zip(np.moveaxis(kernel, -1, 0), bias, strict=True):
            answers = []
            for start in range(LENGTH):
                per_channel = [np.sum(filter_weights * channel[start : start + window]) for channel in padded]
                answers.append(max(0.0, sum(per_channel) + offset))
            features.append(max(answers))
    kernel, bias = model.get_layer("classes").get_weights()
    scores = np.array(features) @ kernel + bias
    return np.exp(scores) / np.exp(scores).sum()


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_network_computes_the_equations_of_the_paper(variant: str) -> None:
    model = trained(variant)
    ids = np.array([[4, 8, 2, 29, 7, 0, 0, 0, 0]], dtype=np.int32)
    names = ["vectors", "fixed_vectors"] if variant == "multichannel" else ["vectors"]
    vectors = np.stack([table_of(model, name)[ids[0]] for name in names])
    vectors[:, 5:] = 0  # padding counts as a zero vector
    np.testing.assert_allclose(model.predict(ids, verbose=0)[0], by_hand(model, vectors), rtol=1e-4)


def test_the_table_starts_as_the_pretrained_vectors_and_rand_does_not() -> None:
    for variant in ("static", "non-static", "multichannel"):
        np.testing.assert_array_equal(table_of(small(variant)), TABLE)
    start = table_of(small("rand"))
    assert start.shape == (V, D) and np.abs(start).max() <= 0.25 and start.std() > 0.1


def test_static_vectors_never_move() -> None:
    np.testing.assert_array_equal(table_of(trained("static")), TABLE)


@pytest.mark.parametrize("variant", ["rand", "non-static"])
def test_the_other_vectors_move(variant: str) -> None:
    moved = np.abs(table_of(trained(variant)) - table_of(small(variant))).max(axis=1)
    assert (moved[np.unique(IDS)] > 1e-4).all()


def test_multichannel_moves_one_copy_of_two() -> None:
    model = trained("multichannel")
    np.testing.assert_array_equal(table_of(model, "fixed_vectors"), TABLE)
    assert np.abs(table_of(model, "vectors") - TABLE).max() > 1e-3


def test_multichannel_has_no_more_filters_than_one_channel() -> None:
    def weights(model: keras.Model) -> int:
        return sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)

    assert weights(small("multichannel")) == weights(small("non-static"))


@pytest.mark.parametrize("variant", VARIANTS)
def test_padding_never_learns(variant: str) -> None:
    ids, labels = IDS.copy(), LABELS
    ids[:, 5:] = 0
    model = small(variant)
    before = table_of(model)[0].copy()
    model.compile(keras.optimizers.Adam(0.05), "sparse_categorical_crossentropy")
    model.fit(ids, labels, epochs=2, verbose=0)
    np.testing.assert_array_equal(table_of(model)[0], before)


@pytest.mark.parametrize("variant", VARIANTS)
def test_an_empty_comment_gets_a_probability(variant: str) -> None:
    probability = trained(variant).predict(np.zeros((2, LENGTH), np.int32), verbose=0)
    assert np.isfinite(probability).all()
    np.testing.assert_allclose(probability.sum(axis=1), 1, atol=1e-6)


def test_a_comment_shorter_than_every_filter_gets_a_probability() -> None:
    model = small("rand", max_length=1)
    assert np.isfinite(model.predict(np.array([[3]], np.int32), verbose=0)).all()


def test_output_weights_stay_within_the_norm_limit() -> None:
    def largest_norm(limit: float) -> float:
        kernel = trained("rand", steps=10, max_norm=limit).get_layer("classes").get_weights()[0]
        return float(np.linalg.norm(kernel, axis=0).max())

    assert largest_norm(0.5) == pytest.approx(0.5, abs=1e-3)  # it binds
    assert largest_norm(100.0) > 0.6  # and without it the weights grow


def test_the_classes_and_filters_asked_for_are_there() -> None:
    model = small("rand", num_classes=4, windows=(2, 7), maps=3)
    assert model.output_shape == (None, 4)
    assert model.get_layer("features").output.shape == (None, 6)
    assert model.get_layer("window_7").get_weights()[0].shape == (7, D, 3)


def test_dropout_is_on_in_training_only() -> None:
    model = small("rand", dropout=0.5)
    assert model.get_layer("dropout").rate == 0.5
    first, second = (np.asarray(model(IDS, training=True)) for _ in range(2))
    assert not np.allclose(first, second)
    np.testing.assert_array_equal(model.predict(IDS, verbose=0), model.predict(IDS, verbose=0))


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_same_seed_gives_the_same_network_and_another_seed_another(variant: str) -> None:
    first, again, other = (trained(variant, seed=seed).predict(IDS, verbose=0) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)


def test_the_network_learns_which_tokens_decide_wherever_they_stand() -> None:
    model = trained("non-static", steps=15)
    assert (model.predict(IDS, verbose=0).argmax(axis=1) == LABELS).mean() > 0.95


def test_a_saved_network_needs_none_of_this_code(tmp_path: Path) -> None:
    model = trained("multichannel")
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.predict(IDS, verbose=0), model.predict(IDS, verbose=0))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"variant": "dynamic"}, "variant must be one of rand, static, non-static, multichannel, not 'dynamic'"),
        ({"embeddings": None}, "embeddings must be the pretrained vectors for variant 'non-static'"),
        ({"variant": "rand", "embeddings": TABLE}, "embeddings must be None"),
        ({"embeddings": TABLE[1:]}, r"embeddings must have shape \(30, d\), not \(29, 6\)"),
        ({"embeddings": np.full((V, D), np.nan, np.float32)}, "embeddings must be finite"),
        ({"max_length": 0}, "max_length must be at least 1, not 0"),
        ({"num_classes": 1}, "num_classes must be at least 2, not 1"),
        ({"maps": 0}, "maps must be at least 1, not 0"),
        ({"windows": ()}, r"windows must be one or more widths of at least 1, not \(\)"),
        ({"windows": (3, 0)}, r"windows must be one or more widths of at least 1, not \(3, 0\)"),
        ({"dropout": 1.0}, r"dropout must be in \[0, 1\), not 1.0"),
        ({"max_norm": 0.0}, "max_norm must be positive, not 0.0"),
    ],
)
def test_a_bad_argument_is_named(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_text_cnn(V, **({"max_length": LENGTH, "embeddings": TABLE} | arguments))


def test_a_vocabulary_without_a_token_is_refused() -> None:
    with pytest.raises(ValueError, match="vocabulary_size must be at least 2, not 1"):
        build_text_cnn(1, max_length=LENGTH, variant="rand")


# ----------------------------------------------------------------------------- what notebook 02 makes of the splits

TO_THE_TABLE = [
    "imports",
    "parameters",
    "derived",
    "corpus",
    "word2vec",
    "vocabulary",
    "embedding-matrix",
    "embeddings",
]
PLANTED = {"train": "qqplanttrain", "validation": "qqplantvalid", "test": "qqplanttest", "dropped": "qqplantdropped"}


def comments_with_planted_words() -> pd.DataFrame:
    """Each split has a word of its own, in labelled and in undecided comments alike."""
    sizes = {"train": 120, "validation": 30, "test": 30, "dropped": 30}
    rows = [
        (split, (-1, 0, 1)[number % 3], f"버스가 {number}번 늦어서 {PLANTED[split]} 화났다")
        for split, size in sizes.items()
        for number in range(size)
    ]
    table = pd.DataFrame(rows, columns=["split", "label", "text"])
    return table.assign(id=table.index.astype(str), group=table["split"])


def run_cells(folder: Path) -> dict[str, Any]:
    """Run notebook 02 up to its embedding table on the comments in a run folder, and return its variables."""
    cells = {cell.id: cell.source for cell in nbformat.read(ROOT / "notebooks/02_text_cnn_word2vec.ipynb", 4).cells}
    variables: dict[str, Any] = {}
    for name in TO_THE_TABLE:
        exec(compile(cells[name], name, "exec"), variables)
        if name == "parameters":
            variables |= {"RUN_DIR": str(folder), "WORD2VEC_DIM": 8}
    return variables


@pytest.fixture(scope="module")
def run_with_planted_words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    run = start_run(folder, dataset="sample", dataset_sha256="", columns={}, seed=0, labelling={})
    save_comments(run, comments_with_planted_words())
    return folder


@pytest.fixture(scope="module")
def made(run_with_planted_words: Path) -> dict[str, Any]:
    return run_cells(run_with_planted_words)


def test_a_word_of_training_comments_has_a_row_and_a_vector_in_notebook_02(made: dict[str, Any]) -> None:
    token = PLANTED["train"] + "/SL"
    assert token in made["vectors"]
    np.testing.assert_array_equal(made["embeddings"][made["vocabulary"][token]], made["vectors"][token])


@pytest.mark.parametrize("split", ["validation", "test", "dropped"])
def test_a_word_that_only_held_out_comments_have_gets_no_row_and_no_vector(split: str, made: dict[str, Any]) -> None:
    token = PLANTED[split] + "/SL"
    assert token in text.tokenize([PLANTED[split]])[0]
    assert token not in made["vocabulary"] and token not in made["vectors"]
    assert len(made["embeddings"]) == len(made["vocabulary"]) == len(set(made["vocabulary"].values()))


@pytest.mark.parametrize("split", ["validation", "test"])
def test_the_network_sees_a_held_out_word_as_unknown(split: str, made: dict[str, Any]) -> None:
    for sentence, ids in zip(made["tokens"][split], made["ids"][split], strict=True):
        assert ids[sentence.index(PLANTED[split] + "/SL")] == UNKNOWN


def test_a_second_run_of_the_notebook_cuts_no_comment_again(
    made: dict[str, Any], run_with_planted_words: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text, "kiwi", lambda: pytest.fail("a comment was cut again"))
    again = run_cells(run_with_planted_words)
    assert again["corpus"] == made["corpus"]
    np.testing.assert_array_equal(again["embeddings"], made["embeddings"])
