"""Fits a small BERT on a number of logical CPU devices: ``python fit_on_devices.py CHECKPOINT DEVICES RESULT.npz``.

TensorFlow takes logical devices only before it starts, so tests/test_devices.py runs this as a process of its own.
"""

import sys
from pathlib import Path

import tensorflow as tf

CHECKPOINT, DEVICES, RESULT = Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * DEVICES
)

import keras  # noqa: E402
import numpy as np  # noqa: E402
from keras_hub.models import BertBackbone  # noqa: E402

from utils.bert import BACKBONE, CommentBatches, build_bert_classifier, load_backbone, load_tokenizer  # noqa: E402
from utils.training import (  # noqa: E402
    AdamW,
    EvenShares,
    Resume,
    WarmUpLinearDecay,
    class_weights,
    device_scope,
    scale_loss,
    set_seeds,
)

EPOCHS, BATCH_SIZE, PEAK = 2, 8, 1e-3
COMMENTS = {"even": 24, "uneven": 21, "single": 17}  # the smallest of three batches has 8, 5 and 1 comments
TOKENIZER = load_tokenizer(CHECKPOINT)


def comments(number):
    random = np.random.default_rng(0)
    texts = [" ".join(random.choice(list("가각갈감갑간나다"), random.integers(1, 12))) for _ in range(number)]
    return texts, np.arange(number) % 3 // 2  # one controversial comment in three


def training_batches(case):
    texts, labels = comments(COMMENTS[case])
    weights = class_weights(labels)
    # By this seed the small batch is the first of its fit, where Keras fails by itself, in the middle or last.
    settings = {"tokenizer": TOKENIZER, "max_length": 20, "batch_size": BATCH_SIZE, "seed": 9}
    return CommentBatches(texts, labels, **settings, class_weight=weights, shuffle=True)


def sizes_by_epoch(case):
    batches, sizes = training_batches(case), []
    for _ in range(EPOCHS):
        batches.on_epoch_end()  # Keras calls it before the first epoch, too
        sizes.append([len(rows) for rows in batches.batches])
    return sizes


def build():
    """Return a classifier without dropout, whose masks differ from device to device."""
    set_seeds(0)
    config = load_backbone(CHECKPOINT).get_config() | {"dropout": 0.0, "name": BACKBONE}
    model = build_bert_classifier(BertBackbone.from_config(config), dropout=0.0)
    model.get_layer(BACKBONE).set_weights(load_backbone(CHECKPOINT).get_weights())
    steps = EPOCHS * len(training_batches("even"))
    optimizer = AdamW(WarmUpLinearDecay(PEAK, steps, 1), weight_decay=0.01, global_clipnorm=0.1)  # most are longer
    model.compile(optimizer, "sparse_categorical_crossentropy", weighted_metrics=["accuracy"], jit_compile=False)
    optimizer.build(model.trainable_variables)
    return model


class Interrupt(keras.callbacks.Callback):
    """Break a fit off, as an interrupted cell does, before step number `step` of the second epoch."""

    def __init__(self, step):
        super().__init__()
        self.step, self.epoch = step, 0

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_begin(self, batch, logs=None):
        if (self.epoch, batch) == (1, self.step):
            raise KeyboardInterrupt


def fit_in_two_goes(devices):
    """Return the weights and losses of a fit that is broken off and goes on in a network built anew."""
    for breaks in ([Interrupt(1)], []):
        with device_scope("CPU"):
            model = build()
        batches = training_batches("uneven")
        resume = Resume(RESULT.with_name(f"training-{devices}.npz"), batches, every_seconds=0.0, clock=lambda: 0.0)
        settings = {"epochs": EPOCHS, "shuffle": False, "verbose": 0, "callbacks": [*breaks, resume]}
        try:
            model.fit(EvenShares(batches, devices), **settings)
        except KeyboardInterrupt:
            continue
    return flat_weights(model), np.reshape(resume.losses, (EPOCHS, -1))


def fit_a_small_network(precision="float32", weights=None, **settings):
    """Return a network after a fit with clipped gradients, batches of 8 numbers each, the first halves weighing 1."""
    keras.config.set_dtype_policy(precision)
    set_seeds(0)
    random = np.random.default_rng(0)
    numbers, labels = random.integers(0, 9, (48, 6)), random.integers(0, 2, 48)
    with device_scope("CPU"):
        layers = [
            keras.layers.Embedding(9, 5),
            keras.layers.GlobalAveragePooling1D(),
            keras.layers.LayerNormalization(),
        ]
        model = keras.Sequential([*layers, keras.layers.Dense(2, activation="softmax", dtype="float32")])
        optimizer = scale_loss(AdamW(PEAK, weight_decay=0.01, global_clipnorm=0.05, **settings))
        model.compile(optimizer, "sparse_categorical_crossentropy", jit_compile=False)
    model.fit(numbers, labels, sample_weight=weights, batch_size=8, epochs=EPOCHS, shuffle=False, verbose=0)
    keras.config.set_dtype_policy("float32")
    return model


def flat_weights(model):
    return np.concatenate([np.ravel(weight) for weight in model.get_weights()])


def main():
    with device_scope("CPU"):
        model = build()
    variables = [*model.variables, *model.optimizer.variables]
    beginning = [np.asarray(variable) for variable in variables]
    results = {"replicas": model.distribute_strategy.num_replicas_in_sync, "before weights": flat_weights(model)}

    def fit(name, batches):
        for variable, value in zip(variables, beginning, strict=True):
            variable.assign(value)
        losses = []
        noting = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: losses.append(logs["loss"]))
        model.fit(EvenShares(batches, results["replicas"]), epochs=EPOCHS, shuffle=False, verbose=0, callbacks=[noting])
        results[f"{name} losses"] = np.reshape(losses, (EPOCHS, -1))
        results[f"{name} rate"] = model.optimizer.learning_rate
        results[f"{name} sizes"] = sizes_by_epoch(name)
        results[f"{name} weights"] = flat_weights(model)

    for case in COMMENTS:
        fit(case, training_batches(case))
    results["resumed weights"], results["resumed losses"] = fit_in_two_goes(results["replicas"])
    results["accumulated weights"] = flat_weights(fit_a_small_network(gradient_accumulation_steps=3))
    heavy_second_halves = np.tile(np.repeat([1.0, 1e4], 4), 6)  # those of the second device, where there are two
    overflown = fit_a_small_network("mixed_float16", heavy_second_halves)
    results["overflown weights"] = flat_weights(overflown)
    results["overflown scale"] = overflown.optimizer.dynamic_scale
    texts, _ = comments(17)
    batches = CommentBatches(texts, tokenizer=TOKENIZER, max_length=20, batch_size=BATCH_SIZE)
    results["predictions"] = model.predict(batches, verbose=0)[batches.inverse]
    alone = CommentBatches(texts[:1], tokenizer=TOKENIZER, max_length=20, batch_size=BATCH_SIZE)
    results["prediction of one"] = model.predict(alone, verbose=0)
    np.savez(RESULT, **results)


if __name__ == "__main__":
    main()
