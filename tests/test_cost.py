import json
import subprocess
import sys

import pytest
from keras_hub.models import BertBackbone

from utils.cost import CPU_SPEED, KCBERT, T4_GIGABYTES, bert_weights, largest_batch, training_hours, training_memory
from utils.files import ROOT
from utils.run_all import notebook_parameters, read_profile

SMALL = {
    "vocab_size": 1000,
    "max_position_embeddings": 300,
    "hidden_size": 256,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 1024,
}
KCBERT_STEPS = {
    step.parameters["CHECKPOINT"].rpartition("/")[2]: step
    for step in read_profile("kcbert")
    if "CHECKPOINT" in step.parameters
}

# TensorFlow's own count, of the allocator that a GPU has too, while the classifier takes a training step: the most that
# one of three needs, for the order in which operations run differs; the first one makes AdamW's means.
PEAK = """
import json, os, sys
os.environ |= {"TF_CPU_ALLOCATOR_USE_BFC": "1", "TF_CPU_BFC_MEM_LIMIT_IN_MB": "4000", "TF_CPP_MIN_LOG_LEVEL": "3"}
import keras
import numpy as np
import tensorflow as tf
from keras_hub.models import BertBackbone
from utils.bert import BACKBONE, build_bert_classifier

config, batch_size, length, precision = json.loads(sys.argv[1])
keras.config.set_dtype_policy(precision)
names = {"vocabulary_size": "vocab_size", "num_layers": "num_hidden_layers", "num_heads": "num_attention_heads"}
names |= {"hidden_dim": "hidden_size", "intermediate_dim": "intermediate_size"}
names |= {"max_sequence_length": "max_position_embeddings"}
model = build_bert_classifier(BertBackbone(**{ours: config[theirs] for ours, theirs in names.items()}, name=BACKBONE))
model.compile(keras.optimizers.AdamW(1e-5, global_clipnorm=1.0), "sparse_categorical_crossentropy", jit_compile=False)
inputs = {name: np.ones((batch_size, length), np.int32) for name in model.input}
peaks = []
for _ in range(4):
    tf.config.experimental.reset_memory_stats("CPU:0")
    model.train_on_batch(inputs, np.zeros(batch_size, np.int32))
    peaks.append(tf.config.experimental.get_memory_info("CPU:0")["peak"] / 1e9)
print(max(peaks[1:]))
"""


@pytest.mark.parametrize(("config", "weights"), [("kcbert-base", 108_918_528), ("kcbert-large", 334_390_272)])
def test_the_weights_of_kcbert(config, weights):
    assert bert_weights(KCBERT[config]) == weights


def test_the_weights_are_those_of_the_network_that_is_built():
    backbone = BertBackbone(
        vocabulary_size=1000, num_layers=4, num_heads=4, hidden_dim=256, intermediate_dim=1024, max_sequence_length=300
    )
    assert bert_weights(SMALL) == backbone.count_params()


@pytest.mark.parametrize(
    ("precision", "shape"), [("float32", (32, 64)), ("float32", (8, 128)), ("mixed_float16", (32, 64))]
)
def test_the_memory_is_what_tensorflow_counts_within_a_seventh(precision, shape):
    given = json.dumps([SMALL, *shape, precision])
    result = subprocess.run([sys.executable, "-c", PEAK, given], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-2000:]
    estimate = training_memory(SMALL, batch_size=shape[0], length=shape[1], half=precision != "float32")
    assert sum(estimate.values()) == pytest.approx(float(result.stdout), rel=1 / 7)


def test_activations_grow_with_the_batch_and_nothing_else_does():
    one, four = (training_memory(SMALL, batch_size=batch_size, length=64) for batch_size in (1, 4))
    grown = {name for name in one if four[name] != one[name]}
    assert grown == {"activations, one layer", "activations, other layers", "logits"}
    assert four["activations, one layer"] == pytest.approx(4 * one["activations, one layer"])


def test_the_kcbert_profile_fine_tunes_both_sizes():
    assert set(KCBERT_STEPS) == set(KCBERT)


@pytest.mark.parametrize("name", KCBERT_STEPS)
def test_a_batch_of_the_kcbert_profile_fits_a_t4(name):
    given = notebook_parameters(KCBERT_STEPS[name].notebook) | KCBERT_STEPS[name].parameters
    shape = {"batch_size": given["BATCH_SIZE"], "length": given["MAX_LENGTH"], "accumulation": given["ACCUMULATION"]}
    parts = training_memory(KCBERT[name], **shape)
    assert parts["AdamW's two means"] == pytest.approx(8 * bert_weights(KCBERT[name]) / 1e9)
    assert sum(parts.values()) <= T4_GIGABYTES < 16


def test_the_largest_batch_fits_and_twice_as_much_does_not():
    fits = largest_batch(SMALL, length=64, gigabytes=1.0)
    assert sum(training_memory(SMALL, batch_size=fits, length=64).values()) <= 1.0
    assert sum(training_memory(SMALL, batch_size=2 * fits, length=64).values()) > 1.0


def test_no_batch_fits_where_the_weights_alone_do_not():
    assert largest_batch(SMALL, length=64, gigabytes=0.01) == 0


def test_hours_are_operations_by_speed():
    # One layer has 4 * 256 ** 2 + 2 * 256 * 1024 + 9 * 256 + 1024 = 789,760 weights.
    assert training_hours(SMALL, tokens=1_000_000, speed=1e9) == pytest.approx(6 * 4 * 789_760 * 1e6 / 1e9 / 3600)


def test_the_speed_of_a_cpu_is_half_of_what_was_measured():
    tokens_a_step = 16 * 64
    assert 3600 * training_hours(KCBERT["kcbert-base"], tokens=tokens_a_step, speed=CPU_SPEED) == pytest.approx(
        2 * 1.8, rel=0.1
    )
