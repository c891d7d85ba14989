"""Kim's protocol, on generated sentences: the real ones are not part of the project."""

import math
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from benchmarks import sentence_polarity
from benchmarks.sentence_polarity import FILES, fold_data, main, make_folds, predict_fold, read_sentences, words_of
from utils.files import ROOT
from utils.text import PAD, UNKNOWN

MOODS = {"rt-polarity.neg": ["dull", "clumsy", "tired"], "rt-polarity.pos": ["warm", "funny", "moving"]}
THINGS = ["film", "plot", "cast", "script", "music", "ending", "hero", "tone"]


@pytest.fixture(autouse=True)
def a_small_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sentence_polarity, "DIMENSIONS", 40)
    monkeypatch.setattr(sentence_polarity, "MAPS", 25)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 sentences of either kind; one word of mood among words that say nothing."""
    random = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("polarity")
    for name, moods in MOODS.items():
        lines = [f"the {' '.join(random.choice(THINGS, 5))} is {random.choice(moods)} ." for _ in range(120)]
        (folder / name).write_text("\n".join(lines) + "\n", encoding="latin-1")
    return folder


def accuracy_table(shown: str) -> list[str]:
    return [line for line in shown.splitlines() if line.lstrip().startswith(("rand  ", "static  "))]


@pytest.mark.parametrize(
    ("sentence", "words"),
    [
        ("It's GOOD , isn't it ?", ["it", "'s", "good", ",", "is", "n't", "it", "?"]),
        ("they've said we'll see who's they're he'd", "they 've said we 'll see who 's they 're he 'd".split()),
        ("(a 10-minute film!)", ["(", "a", "10", "minute", "film", "!", ")"]),
        ("na\xefve ; caf\xe9 -- `quoted'", ["na", "ve", "caf", "`quoted'"]),
        (" . ", []),
    ],
)
def test_words_are_cut_as_in_kims_program(sentence: str, words: list[str]) -> None:
    assert words_of(sentence) == words


def test_a_line_is_a_sentence_even_with_a_byte_that_unicode_takes_for_a_line_end(tmp_path: Path) -> None:
    for name in FILES:
        (tmp_path / name).write_bytes(b"one\x85two\n\n" * 12)
    sentences, labels = read_sentences(tmp_path)
    assert sentences == [["one", "two"]] * 24
    assert labels.tolist() == [0] * 12 + [1] * 12


def test_ten_test_folds_are_disjoint_and_cover_every_row_and_a_tenth_of_the_rest_is_for_development() -> None:
    folds = make_folds(203, seed=0)
    assert len(folds) == 10
    assert sorted(np.concatenate([fold.test for fold in folds])) == list(range(203))
    for fold in folds:
        assert sorted(np.concatenate(fold)) == list(range(203))
        assert len(fold.dev) == math.ceil(0.1 * (203 - len(fold.test)))


def test_the_seed_deals_the_folds() -> None:
    first, again, other = (np.concatenate(make_folds(100, seed=seed)[0]).tolist() for seed in (1, 1, 2))
    assert first == again != other


def test_a_word_has_a_row_only_if_a_training_sentence_has_it() -> None:
    sentences = [["all", f"own{row}"] for row in range(50)]
    for fold in make_folds(50, seed=0):
        vocabulary, ids = fold_data(sentences, fold)
        assert set(vocabulary) == {"[PAD]", "[UNK]", "all", *(f"own{row}" for row in fold.train)}
        assert (ids["test"][:, 5] == UNKNOWN).all() and (ids["dev"][:, 5] == UNKNOWN).all()
        assert (ids["train"][:, 5] != UNKNOWN).all()


def test_padding_stands_at_both_ends_and_longer_test_sentences_are_cut() -> None:
    sentences = [["a", "b"]] * 99 + [["a"] * 30]
    fold = next(fold for fold in make_folds(100, seed=0) if 99 in fold.test)
    _, ids = fold_data(sentences, fold)
    for part in ids.values():
        assert part.shape[1] == 4 + 2 + 4
        assert (part[:, :4] == PAD).all() and (part[:, 4:6] != PAD).all() and (part[:, 6:] == PAD).all()


def test_the_program_learns_which_words_decide_and_shows_the_paper_beside_it(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main([str(folder), "--folds", "2"])
    (row,) = accuracy_table(capsys.readouterr().out)
    variant, folds, mean, deviation, lowest, highest, paper = row.split()
    assert (variant, folds, paper) == ("rand", "2", "76.10")
    assert float(mean) > 85
    assert float(lowest) <= float(mean) <= float(highest)
    assert float(deviation) == pytest.approx((float(highest) - float(lowest)) / np.sqrt(2), abs=0.02)


def test_training_is_kims(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, object] = {}
    compile_as_asked, fit_as_asked = keras.Model.compile, keras.Model.fit

    def note_optimizer(
        model: keras.Model, optimizer: keras.optimizers.Optimizer, *loss: object, **more: object
    ) -> None:
        seen.update(optimizer=optimizer, limit=model.get_layer("classes").kernel_constraint.max_value)
        compile_as_asked(model, optimizer, *loss, **more)

    def note_fit(model: keras.Model, *data: object, **settings: object) -> object:
        seen.update(settings)
        return fit_as_asked(model, *data, **(settings | {"epochs": 1}))

    monkeypatch.setattr(keras.Model, "compile", note_optimizer)
    monkeypatch.setattr(keras.Model, "fit", note_fit)
    sentences, labels = read_sentences(folder)
    fold = make_folds(len(sentences), seed=0)[0]
    predict_fold(sentences, labels, fold, variant="rand")
    optimizer = seen["optimizer"]
    assert isinstance(optimizer, keras.optimizers.Adadelta)
    assert (float(optimizer.learning_rate), optimizer.rho, optimizer.epsilon) == (1.0, 0.95, 1e-6)
    assert (seen["batch_size"], seen["epochs"], seen["limit"]) == (50, 25, 1.5)  # 1.5 in Keras is his 3
    assert len(seen["validation_data"][1]) == len(fold.dev)  # type: ignore[index]


def test_one_seed_gives_one_result(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sentence_polarity, "EPOCHS", 1)
    sentences, labels = read_sentences(folder)
    fold = make_folds(len(sentences), seed=0)[0]

    first, again, other = (predict_fold(sentences, labels, fold, variant="rand", seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)


def test_word_vectors_are_read_from_a_file(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [word for moods in MOODS.values() for word in moods]
    numbers = {word: ("1" if word in MOODS[FILES[1]] else "-1") for word in words}
    lines = [f"{len(words)} 3", *(f"{word} {numbers[word]} {numbers[word]} 0.5" for word in words)]
    (tmp_path / "vectors.txt").write_text("\n".join(lines) + "\n")
    monkeypatch.setattr(sentence_polarity, "EPOCHS", 8)
    main([str(folder), "--folds", "1", "--variants", "static", "--vectors", str(tmp_path / "vectors.txt")])
    (row,) = accuracy_table(capsys.readouterr().out)
    assert row.split()[-1] == "81.00"
    assert float(row.split()[2]) > 85


def refusal(*arguments: object) -> str:
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    assert isinstance(stopped.value.code, str)  # Python prints it and exits with 1
    return stopped.value.code


def test_what_is_missing_is_said_in_one_sentence(folder: Path, tmp_path: Path) -> None:
    assert "nowhere is not a folder" in refusal(tmp_path / "nowhere")
    assert "rt-polarity.neg is missing" in refusal(tmp_path)
    for name in FILES:
        (tmp_path / name).write_text("\n")
    assert "rt-polarity.neg holds 0 sentences: 10 folds need at least 10." in refusal(tmp_path)
    assert "add --vectors FILE" in refusal(folder, "--variants", "static")
    (tmp_path / "vectors.txt").write_text("no vectors\n")
    for name in ("absent.txt", "vectors.txt"):
        message = refusal(folder, "--variants", "static", "--vectors", tmp_path / name)
        assert f"{name} cannot be read as word vectors" in message


def test_the_command_exits_with_1_and_without_a_traceback(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.sentence_polarity", str(tmp_path)]
    settings = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=settings)
    assert result.returncode == 1
    assert "rt-polarity.neg is missing" in result.stderr.splitlines()[-1] and "Traceback" not in result.stderr
