"""Notebook 04's recipe of a fit: which weights decay, and which epoch is kept."""

from types import SimpleNamespace

import keras
import nbformat
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score

from utils import training
from utils.bert import CommentBatches, load_tokenizer
from utils.files import ROOT

RECIPE = ("imports", "classifier", "freeze", "compile", "fine-tune", "fine-tune-fit")
PARAMETERS = {"BATCH_SIZE": 16, "ACCUMULATION": 1, "MAX_LENGTH": 12, "BALANCE": True, "EPOCHS": 4, "MIN_STEPS": 1}


@pytest.fixture(scope="module")
def notebook(kcbert_shaped_checkpoint):
    """The names that the recipe's cells define, with a KcBERT of two narrow layers and random weights."""
    run = SimpleNamespace(class_names=["calm", "heated"], training_state=lambda *_, **__: None)
    network = {"checkpoint": kcbert_shaped_checkpoint, "HEAD": {"pooling": "mean"}, "MODELS": {"small": True}}
    names = vars(training) | PARAMETERS | network | {"LEARNING_RATE": 1e-3, "run": run}
    names["tokenizer"] = load_tokenizer(kcbert_shaped_checkpoint)
    cells = {cell.id: cell.source for cell in nbformat.read(ROOT / "notebooks/04_kcbert_finetuning.ipynb", 4).cells}
    for cell_id in RECIPE:
        exec(cells[cell_id], names)
    return names


def test_weight_decay_shrinks_kernels_and_embeddings_but_no_bias_and_no_layer_norm(notebook):
    model, _ = notebook["compiled_network"]("full")
    variables = model.trainable_variables
    for variable in variables:
        variable.assign(np.ones(variable.shape))
    model.optimizer.apply([np.zeros(variable.shape, np.float32) for variable in variables])
    shrunk = {variable.name for variable in variables if (keras.ops.convert_to_numpy(variable) < 1).all()}
    untouched = {variable.name for variable in variables if (keras.ops.convert_to_numpy(variable) == 1).all()}
    assert shrunk == {"kernel", "embeddings"}
    assert untouched == {"bias", "gamma", "beta"}


def comments(number: int, words: str) -> pd.DataFrame:
    """One comment in four is of class 1 and has the second word: what "가나" teaches is wrong of "나가"."""
    label = np.arange(number) % 4 // 3
    return pd.DataFrame({"text": [words[each] for each in label], "label": label})


def test_the_epoch_with_the_best_macro_f1_on_validation_is_kept_every_comment_counting_alike(notebook):
    rows, validation = comments(96, "가나"), pd.concat([comments(42, "나가"), comments(14, "가나")])
    weight = training.class_weights(validation["label"])
    settings = {"tokenizer": notebook["tokenizer"], "max_length": 12, "batch_size": 16}
    watched = CommentBatches(validation["text"].tolist(), validation["label"], class_weight=weight, **settings)
    model, history = notebook["fine_tune"](rows, "small", seed=1, watched=watched)
    scores = history["val_macro_f1"]
    assert len(scores) == PARAMETERS["EPOCHS"] and scores[-1] < max(scores)
    unlabelled = CommentBatches(validation["text"].tolist(), **settings)
    predicted = model.predict(unlabelled, verbose=0)[unlabelled.inverse].argmax(axis=1)
    assert f1_score(validation["label"], predicted, average="macro") == pytest.approx(max(scores), abs=1e-6)
