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
from utils.text_cnn import VARIANTS, build_text_cnn, favourite_ngrams, max_over_time, ngram_contributions
from utils.training import Adam, set_seeds

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


def test_without_further_arguments_it_is_the_network_of_the_paper() -> None:
    model = build_text_cnn(V, max_length=LENGTH, embeddings=TABLE)
    shapes = [model.get_layer(f"window_{width}").get_weights()[0].shape for width in (3, 4, 5)]
    assert shapes == [(3, D, 100), (4, D, 100), (5, D, 100)]
    assert len([layer for layer in model.layers if isinstance(layer, keras.layers.Conv1D)]) == 3
    assert all(model.get_layer(f"window_{width}").activation is keras.activations.relu for width in (3, 4, 5))
    assert model.get_layer("dropout").rate == 0.5
    classes = model.get_layer("classes")
    assert classes.kernel.shape == (300, 2) and classes.activation is keras.activations.softmax
    assert classes.kernel_constraint.max_value == 3.0 and classes.kernel_constraint.axis == 0
    assert model.get_layer("vectors").trainable and model.name == "text_cnn_non_static"


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_seed_decides_the_first_weights(variant: str) -> None:
    def first_weights(seed: int) -> dict[str, np.ndarray]:
        set_seeds(seed)
        table = None if variant == "rand" else TABLE
        model = build_text_cnn(V, max_length=LENGTH, embeddings=table, embedding_dim=D, variant=variant, maps=5)
        return {weight.path: weight.numpy() for weight in model.weights}

    one, again, other = (first_weights(seed) for seed in (1, 1, 2))
    drawn = {name for name in one if name.endswith("kernel") or (variant == "rand" and name.startswith("vectors"))}
    assert len(drawn) == (5 if variant == "rand" else 4)
    for name, weight in one.items():
        np.testing.assert_array_equal(weight, again[name])
        assert (name in drawn) != np.array_equal(weight, other[name]), name


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


def test_several_steps_in_one_call_give_the_weights_of_as_many_calls() -> None:
    weights = []
    for steps in (1, 3):  # eight batches are no multiple of three
        model = small("multichannel")
        set_seeds(0)
        model.compile(Adam(0.05), "sparse_categorical_crossentropy", steps_per_execution=steps)
        model.fit(IDS, LABELS, batch_size=8, epochs=2, validation_data=(IDS[:20], LABELS[:20]), verbose=0)
        weights.append([*model.get_weights(), model.predict(IDS[:21], batch_size=4, verbose=0)])
    for one, several in zip(*weights, strict=True):
        np.testing.assert_array_equal(one, several)


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


# ----------------------------------------------------------------------------- what the network looks at

WORDS = [f"w{number}" for number in range(V)]


def words_in(ids: np.ndarray) -> list[str]:
    return [WORDS[number] for number in ids if number]


def log_odds(model: keras.Model, ids: np.ndarray) -> float:
    without, within = model.predict(ids[np.newaxis], verbose=0)[0].astype(float)
    return float(np.log(within / without))


@pytest.mark.parametrize("variant", VARIANTS)
def test_contributions_of_the_ngrams_and_the_bias_add_up_to_the_log_odds(variant: str) -> None:
    model = trained(variant)
    for ids in ([4, 8, 2, 29, 7, 0, 0, 0, 0], [5, 0, 0, 0, 0, 0, 0, 0, 0], [0] * 9, list(range(20, 29))):
        row = np.array(ids, dtype=np.int32)
        table = ngram_contributions(model, row, words_in(row))
        assert table["contribution"].sum() == pytest.approx(log_odds(model, row), abs=1e-5)
        assert table["ngram"].iloc[-1] == "(bias)"


def test_contributions_follow_the_classes_asked_for() -> None:
    model = small("rand", num_classes=3, windows=(5, 2, 3))
    probability = model.predict(IDS[:1], verbose=0)[0]
    table = ngram_contributions(model, IDS[0], words_in(IDS[0]), label=2, against=1)
    assert table["contribution"].sum() == pytest.approx(np.log(probability[2] / probability[1]), abs=1e-5)


def test_each_filter_is_counted_once_and_the_ngrams_are_places_in_the_comment() -> None:
    model = trained("rand")
    features, starts, widths = max_over_time(model, IDS[:1])
    table = ngram_contributions(model, IDS[0], words_in(IDS[0]))
    assert table["filters"].sum() == (features > 0).sum()
    for row in table.iloc[:-1].itertuples():
        assert row.ngram == " ".join(words_in(IDS[0])[row.start : row.end])
        assert 1 <= row.end - row.start <= 5
    assert table["contribution"].iloc[:-1].abs().is_monotonic_decreasing
    assert starts.min() >= -2 and set(widths) == {3, 4, 5}


def test_the_largest_answers_are_the_features_of_the_network_in_batches_too() -> None:
    model = small("non-static", windows=(5, 2, 3))
    expected = keras.Model(model.input, model.get_layer("features").output).predict(IDS, verbose=0)
    features, starts, widths = max_over_time(model, IDS, batch_size=7)
    np.testing.assert_allclose(features, expected, atol=1e-6)
    assert widths.tolist() == [5] * 5 + [2] * 5 + [3] * 5
    kernel, bias = model.get_layer("window_2").get_weights()
    for row, column in ((0, 5), (3, 6), (9, 9)):
        window = TABLE[IDS[row]][starts[row, column] : starts[row, column] + 2]  # not at the edge in these rows
        assert window.shape == (2, D)
        answer = np.sum(window * kernel[:, :, column - 5]) + bias[column - 5]
        assert answer == pytest.approx(features[row, column], abs=1e-5)


def detector() -> keras.Model:
    """One filter of width 2 that looks for tokens 5 and 6 side by side and speaks for class 1."""
    table = np.zeros((V, D), np.float32)
    table[5, 0] = table[6, 1] = 1
    model = build_text_cnn(V, max_length=LENGTH, embeddings=table, variant="static", windows=(2,), maps=1)
    kernel = np.zeros((2, D, 1), np.float32)
    kernel[0, 0] = kernel[1, 1] = 1
    model.get_layer("window_2").set_weights([kernel, np.zeros(1, np.float32)])
    model.get_layer("classes").set_weights([np.array([[-0.5, 1.0]], np.float32), np.array([0.25, 0.0], np.float32)])
    return model


def test_a_planted_detector_is_found_with_the_contribution_worked_out_by_hand() -> None:
    ids = np.array([3, 4, 5, 6, 9, 0, 0, 0, 0], dtype=np.int32)
    table = ngram_contributions(detector(), ids, words_in(ids))
    assert table.to_dict("records") == [
        {"ngram": "w5 w6", "start": 2, "end": 4, "filters": 1, "contribution": 3.0},  # (1 + 1) * (1 + 0.5)
        {"ngram": "(bias)", "start": 5, "end": 5, "filters": 0, "contribution": -0.25},
    ]


def test_the_favourite_ngrams_of_a_planted_detector_are_its_own_the_loudest_first() -> None:
    ids = np.array([[9, 6, 9, 0, 0, 0, 0, 0, 0], [3, 5, 6, 4, 0, 0, 0, 0, 0], [1, 5, 6, 0, 0, 0, 0, 0, 0]], np.int32)
    table = favourite_ngrams(detector(), ids, [words_in(row) for row in ids])
    assert table.filter(like="favourite").to_numpy().tolist() == [["w5 w6", "w9 w6", ""]]
    assert table["filter"].tolist() == ["2 wide, no. 0"]
    assert table["mean_contribution"].tolist() == [pytest.approx((1 + 2 + 2) / 3 * 1.5)]


def test_favourites_run_from_the_filters_for_a_class_to_those_against_it() -> None:
    table = favourite_ngrams(trained("rand"), IDS, [words_in(row) for row in IDS], filters=2, ngrams=3)
    assert len(table) == 4
    assert table["mean_contribution"].is_monotonic_decreasing
    for favourites in table.filter(like="favourite").to_numpy().tolist():
        assert len(set(favourites)) == 3


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
