"""A fit that is killed, runs out of disk or meets another checkpoint: what is lost, and what is said."""

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest

from utils import training
from utils.bert import BACKBONE, CommentBatches, build_bert_classifier, freeze, load_backbone, load_tokenizer
from utils.training import AdamW, Resume, TrainingDivergedError, TrainingStateError, set_seeds

ROOT = Path(__file__).resolve().parent.parent
TEXTS = ["가 나", "다", "라 마 바 사", "아", "자 차 카", "타 파", "하", "가 다 라"] * 4
LABELS = [0, 1, 1, 0, 1, 0, 0, 1] * 4
EPOCHS, STEPS = 3, 8

# Fits once, telling after how many steps each begins, and writes what came out. It saves after every step: any moment
# is between two saves.
PROGRAM = """
import json, sys
from pathlib import Path
from tests.test_resume import fit, keras
folder, checkpoint, epochs = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
def tell(batch, logs):
    print("steps", int(teller.model.optimizer.iterations), flush=True)
teller = keras.callbacks.LambdaCallback(on_train_batch_begin=tell)
model, resume = fit(checkpoint, folder / "training.npz", epochs=epochs, callbacks=[teller])
weights = [weight.tolist() for weight in model.get_layer("probabilities").get_weights()]
steps = int(model.optimizer.iterations)
result = {"losses": resume.losses, "history": model.history.history, "weights": weights, "steps": steps}
(folder / "result.json").write_text(json.dumps(result))
"""


def fit(
    checkpoint: Path, path: Path | None, *, seed=0, epochs=EPOCHS, rate: float = 1e-3, tuning: str = "full", **others
):
    """Fine-tune with dropout, shuffling, clipping and early stopping; return the network and its `Resume`."""
    set_seeds(seed)
    backbone = load_backbone(checkpoint)
    freeze(backbone, tuning)
    model = build_bert_classifier(backbone)
    optimizer = AdamW(rate, global_clipnorm=1.0)
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"], jit_compile=False)
    data = {"tokenizer": load_tokenizer(checkpoint), "max_length": 12, "batch_size": 4}
    batches = CommentBatches(TEXTS, LABELS, shuffle=True, seed=seed, **data)
    stopping = others.pop("stopping", None) or best_epoch()
    settings = {"learning rate": rate} | others.pop("settings", {})
    resume = Resume(path, batches, settings=settings, stopping=stopping, every_seconds=0.0, clock=lambda: 0.0)
    callbacks = [stopping, *others.pop("callbacks", []), resume]
    watched = CommentBatches(TEXTS[:8], LABELS[:8], **data)
    model.fit(batches, epochs=epochs, validation_data=watched, callbacks=callbacks, shuffle=False, verbose=0, **others)
    return model, resume


def best_epoch() -> keras.callbacks.EarlyStopping:
    return keras.callbacks.EarlyStopping("val_loss", patience=99, restore_best_weights=True)


def fit_in_a_process(
    folder: Path, checkpoint: Path, *, epochs: int, kill_after: int | None = None, patience: float = 0.0
) -> int:
    """Run PROGRAM and return the steps it went on after.

    `kill_after` steps later, and `patience` seconds after the next began, it is ended with SIGKILL.
    """
    environment = os.environ | {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-c", PROGRAM, str(folder), str(checkpoint), str(epochs)]
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        taken = []
        for line in process.stdout:
            if line.startswith("steps "):
                taken.append(int(line.split()[1]))
                if kill_after is not None and taken[-1] >= taken[0] + kill_after:
                    try:
                        process.wait(patience)
                    except subprocess.TimeoutExpired:
                        process.send_signal(signal.SIGKILL)
                    break
        output = process.communicate()[1]
    assert process.returncode == (0 if kill_after is None else -signal.SIGKILL), output[-2000:]
    return taken[0]


@pytest.mark.parametrize(("kills", "epochs"), [(2, EPOCHS), pytest.param(20, 15, marks=pytest.mark.long)])
def test_a_fit_killed_at_random_moments_ends_like_one_that_was_not(kcbert_shaped_checkpoint, tmp_path, kills, epochs):
    folders = tmp_path / "undisturbed", tmp_path / "killed"
    for folder in folders:
        folder.mkdir()
    steps, moments = epochs * STEPS, random.Random(0)
    fit_in_a_process(folders[0], kcbert_shaped_checkpoint, epochs=epochs)
    began, went_on = time.monotonic(), []
    for _ in range(kills):
        moment = {"kill_after": moments.randint(1, steps // (kills + 1)), "patience": moments.uniform(0, 0.05)}
        went_on.append(fit_in_a_process(folders[1], kcbert_shaped_checkpoint, epochs=epochs, **moment))
    went_on.append(fit_in_a_process(folders[1], kcbert_shaped_checkpoint, epochs=epochs))
    seconds = time.monotonic() - began
    print(f"{kills} kills of a fit of {steps} steps in {seconds:.0f} s; it went on after steps", *went_on[1:])
    assert went_on[0] == 0 and all(earlier < later for earlier, later in itertools.pairwise(went_on)), went_on
    undisturbed, killed = (json.loads((folder / "result.json").read_text()) for folder in folders)
    assert killed["steps"] == undisturbed["steps"] == steps
    assert killed["losses"] == pytest.approx(undisturbed["losses"], rel=1e-5)
    assert len(killed["losses"]) == steps
    for name in ("loss", "accuracy", "val_loss", "val_accuracy"):
        assert killed["history"][name] == pytest.approx(undisturbed["history"][name], rel=1e-5), name
    for ours, theirs in zip(killed["weights"], undisturbed["weights"], strict=True):
        assert np.array(ours) == pytest.approx(np.array(theirs), abs=1e-6)


def test_a_fit_that_had_ended_takes_no_further_step(kcbert_shaped_checkpoint, tmp_path, capsys):
    first, before = fit(kcbert_shaped_checkpoint, tmp_path / "training.npz")
    capsys.readouterr()
    again, resume = fit(kcbert_shaped_checkpoint, tmp_path / "training.npz")
    assert capsys.readouterr().out == "This fit has ended before: taken from training.npz.\n"
    assert resume.losses == before.losses
    assert again.history.history == first.history.history
    assert int(again.optimizer.iterations) == EPOCHS * STEPS
    for ours, theirs in zip(again.get_weights(), first.get_weights(), strict=True):
        assert np.array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"epochs": 4}, "epochs was 3, is 4"),
        ({"rate": 2e-3}, "settings.learning rate was 0.001, is 0.002"),
        ({"seed": 1}, "data.seed was 0, is 1"),
        ({"settings": {"checkpoint": "another"}}, "settings.checkpoint was None, is 'another'"),
    ],
)
def test_a_checkpoint_of_other_settings_is_refused_by_name(kcbert_shaped_checkpoint, tmp_path, change, named):
    path = tmp_path / "training.npz"
    fit(kcbert_shaped_checkpoint, path)
    before = path.read_bytes()
    with pytest.raises(TrainingStateError, match="belongs to another fit") as refused:
        fit(kcbert_shaped_checkpoint, path, **change)
    assert named in str(refused.value)
    assert path.read_bytes() == before


def test_a_checkpoint_of_other_comments_is_refused(kcbert_shaped_checkpoint, tmp_path, monkeypatch):
    fit(kcbert_shaped_checkpoint, tmp_path / "training.npz")
    monkeypatch.setattr(sys.modules[__name__], "TEXTS", ["가 나 다", *TEXTS[1:]])
    with pytest.raises(TrainingStateError, match="data.sha256 was"):
        fit(kcbert_shaped_checkpoint, tmp_path / "training.npz")


@pytest.mark.parametrize("damage", [b"", b"no archive", None])
def test_a_damaged_checkpoint_is_named_and_kept(kcbert_shaped_checkpoint, tmp_path, damage):
    path = tmp_path / "training.npz"
    fit(kcbert_shaped_checkpoint, path, epochs=1)
    path.write_bytes(path.read_bytes()[:-1000] if damage is None else damage)
    before = path.read_bytes()
    with pytest.raises(TrainingStateError, match=r"training\.npz cannot be read .*: delete it"):
        fit(kcbert_shaped_checkpoint, path, epochs=1)
    assert path.read_bytes() == before


def test_a_full_disk_leaves_the_old_checkpoint_and_the_fit_goes_on(
    kcbert_shaped_checkpoint, tmp_path, monkeypatch, capsys
):
    path, saved, whole = tmp_path / "training.npz", [], np.savez

    def savez(file, **arrays):
        if len(saved) < 5:  # as the epoch begins, and after four steps
            saved.append(whole(file, **arrays))
            return
        Path(file).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(training.np, "savez", savez)
    model, _ = fit(kcbert_shaped_checkpoint, path)
    assert int(model.optimizer.iterations) == EPOCHS * STEPS
    assert "could not be written (No space left on device): free some space." in capsys.readouterr().out
    assert [file.name for file in tmp_path.iterdir()] == ["training.npz"]
    monkeypatch.undo()
    again, _ = fit(kcbert_shaped_checkpoint, path)
    assert "Goes on at epoch 1, step 5" in capsys.readouterr().out
    assert again.get_weights()[-1] == pytest.approx(model.get_weights()[-1], abs=1e-6)


def test_a_loss_that_is_no_number_stops_the_fit_with_advice(kcbert_shaped_checkpoint, tmp_path):
    class Spoil(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            if batch == 4:
                self.model.get_layer("probabilities").bias.assign([np.nan, 0.0])

    path = tmp_path / "training.npz"
    with pytest.raises(TrainingDivergedError, match=r"became nan in epoch 1, step 5: try a tenth of LEARNING_RATE"):
        fit(kcbert_shaped_checkpoint, path, callbacks=[Spoil()])
    with np.load(path) as kept:
        assert all(np.isfinite(kept[name]).all() for name in kept.files if name != "state")


def test_what_a_killed_process_left_half_written_is_cleared_away(kcbert_shaped_checkpoint, tmp_path):
    leftover = tmp_path / ".training.4711.tmp.npz"
    leftover.write_bytes(b"half")
    fit(kcbert_shaped_checkpoint, tmp_path / "training.npz", epochs=1)
    assert not leftover.exists()


def test_without_a_path_nothing_is_written(kcbert_shaped_checkpoint, tmp_path):
    _, resume = fit(kcbert_shaped_checkpoint, None, epochs=1)
    assert len(resume.losses) == STEPS


def test_the_file_must_be_an_npz(kcbert_shaped_checkpoint):
    with pytest.raises(ValueError, match=r"must end in \.npz"):
        Resume(Path("training.keras"), None)


def test_frozen_weights_are_not_in_the_checkpoint(kcbert_shaped_checkpoint, tmp_path):
    sizes = {}
    for trainable in (True, False):
        set_seeds(0)
        backbone = load_backbone(kcbert_shaped_checkpoint)
        backbone.trainable = trainable
        model = build_bert_classifier(backbone)
        model.compile("adam", "sparse_categorical_crossentropy", jit_compile=False)
        tokenizer = load_tokenizer(kcbert_shaped_checkpoint)
        batches = CommentBatches(TEXTS, LABELS, tokenizer=tokenizer, max_length=12, batch_size=16)
        path = tmp_path / f"{trainable}.npz"
        model.fit(batches, callbacks=[Resume(path, batches)], shuffle=False, verbose=0)
        sizes[trainable] = path.stat().st_size
    assert sizes[False] < sizes[True] / 50


class CutOff(keras.callbacks.Callback):
    """Ends a fit in its second epoch, when the first has been the best so far."""

    def on_train_batch_end(self, batch, logs=None):
        if int(self.model.optimizer.iterations) > STEPS + 2:
            raise KeyboardInterrupt


@pytest.mark.parametrize("tuning", ["full", "last-layers"])
def test_the_best_weights_of_what_is_not_frozen_are_kept_and_come_back_with_the_others(
    kcbert_shaped_checkpoint, tmp_path, tuning
):
    path, stoppings, trained = tmp_path / "training.npz", (best_epoch(), best_epoch()), []
    note = keras.callbacks.LambdaCallback(on_train_batch_begin=lambda batch, logs: trained.append(note.model))
    for stopping in stoppings:
        with pytest.raises(KeyboardInterrupt):
            fit(kcbert_shaped_checkpoint, path, tuning=tuning, stopping=stopping, callbacks=[note, CutOff()])
    model = trained[-1]
    before, after = (stopping.best_weights for stopping in stoppings)
    assert len(before) == len(after) == len(model.weights)
    for earlier, later in zip(before, after, strict=True):
        assert np.array_equal(earlier, later)
    with np.load(path) as kept:
        shapes = [kept[name].shape for name in kept.files if name.startswith("best_")]
        stored = [kept[name].shape for name in kept.files if name.startswith("variable_")]
    assert shapes == [weight.shape for weight in model.trainable_weights]
    words = model.get_layer(BACKBONE).token_embedding.embeddings.shape
    assert (words in stored) == (words in shapes) == (tuning == "full")
