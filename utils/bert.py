"""A pretrained BERT as a comment classifier: tokenizer, backbone, batches by length, head (BERT 분류기)."""

from __future__ import annotations

import functools
import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from numpy.typing import ArrayLike, NDArray

from utils.checkpoints import (
    CONFIG,
    GELU_FORMULAS,
    TOKENIZER_CONFIG,
    VOCABULARY,
    checkpoint_error,
    find_checkpoint,
    keras_hub_folder,
    read_config,
)
from utils.training import gpu_compute_capability

if TYPE_CHECKING:
    from keras_hub.models import BertBackbone
    from transformers import BertTokenizer

BACKBONE = "bert_backbone"  # the layer's name in every classifier, however many a session builds


def load_tokenizer(checkpoint: str | Path) -> BertTokenizer:
    """Load the WordPiece tokenizer of a checkpoint.

    Special tokens typed in a comment, such as ``"[SEP]"``, stay ordinary text (``[``, ``SEP``, ``]``). Its
    ``model_max_length`` is at most the number of positions the model has (300 for KcBERT). Explained in
    notebook 04.

    Parameters
    ----------
    checkpoint : str or Path
        See `utils.checkpoints.find_checkpoint`.

    Raises
    ------
    CheckpointError
        If the checkpoint cannot be read, or its vocabulary does not fit its config.
    """
    folder = find_checkpoint(checkpoint)
    config = read_config(folder)
    settings = json.loads((folder / TOKENIZER_CONFIG).read_text(encoding="utf-8"))
    tokenizer = make_tokenizer(
        folder / VOCABULARY,
        do_lower_case=settings.get("do_lower_case", False),
        strip_accents=settings.get("strip_accents"),
        max_length=min(settings.get("model_max_length", math.inf), config["max_position_embeddings"]),
    )
    if len(tokenizer) > config["vocab_size"]:
        raise checkpoint_error(
            folder, f"{VOCABULARY} has {len(tokenizer)} tokens, but {CONFIG} has room for {config['vocab_size']}."
        )
    return tokenizer


def make_tokenizer(
    vocabulary: Path, *, do_lower_case: bool = False, strip_accents: bool | None = None, max_length: int
) -> BertTokenizer:
    """Make a WordPiece tokenizer from vocab.txt that takes special tokens in a text for ordinary text.

    Parameters
    ----------
    vocabulary : Path
        One token a line.
    do_lower_case, strip_accents : bool
        As in tokenizer_config.json; both False for Korean, stripping accents would take Hangul apart.
    max_length : int
        Number of positions of the model.
    """
    from transformers import BertTokenizer

    return BertTokenizer(
        str(vocabulary),
        do_lower_case=do_lower_case,
        strip_accents=strip_accents,
        model_max_length=max_length,
        split_special_tokens=True,
    )


def encode_comments(tokenizer: BertTokenizer, texts: Sequence[str], max_length: int) -> list[list[int]]:
    """Turn comments into token ids with [CLS] before and [SEP] behind, cut to `max_length`.

    Parameters
    ----------
    tokenizer : BertTokenizer
        From `load_tokenizer`.
    texts : sequence of str, length N
        Cleaned comments; "" is allowed.
    max_length : int
        Most token ids of a comment, both special tokens counted; at least 3. Never more than the model has
        positions, less the one that `CommentBatches` keeps free.

    Returns
    -------
    list of N lists of int
    """
    if max_length < 3:
        raise ValueError(f"max_length must be at least 3 ([CLS], one token, [SEP]), got {max_length}")
    limit = min(max_length, tokenizer.model_max_length - 1)
    if not len(texts):
        return []
    return tokenizer(list(texts), truncation=True, max_length=limit)["input_ids"]


class CommentBatches(keras.utils.PyDataset):
    """Comments as batches of similar length, each padded only to its own longest comment (길이별 배치).

    Short comments do not wait for long ones: on web comments this takes a third to a half of the time that
    padding everything to one length takes. Explained in notebook 04.

    Parameters
    ----------
    texts : sequence of str, length N
        Cleaned comments, at least one.
    labels : array_like of int, shape (N,), optional
        Classes; without them a batch is inputs alone, for prediction.
    tokenizer : BertTokenizer
        From `load_tokenizer`.
    max_length : int
        Where a comment is cut, in tokens.
    batch_size : int
        Comments a batch.
    class_weight : mapping of int to float, optional
        From `utils.training.class_weights`; becomes the sample weights of the batch.
    shuffle : bool
        True for training: the batches are made anew for every epoch, from `seed` and the epoch's number. False
        for prediction: shortest first; ``predictions[batches.inverse]`` stands in the order of `texts`.
    seed : int
        Seed of the shuffling.

    Notes
    -----
    A batch is ``(inputs,)``, ``(inputs, labels)`` or ``(inputs, labels, weights)``; the inputs are
    ``token_ids``, ``segment_ids`` and ``padding_mask``, int32 arrays of shape (B, L) with L the batch's own
    length. On the TensorFlow backend Keras takes the shape it expects from the first two batches, so the first
    one gets a spare column of padding where both would be equally long: Keras then knows that L varies.
    """

    def __init__(
        self,
        texts: Sequence[str],
        labels: ArrayLike | None = None,
        *,
        tokenizer: BertTokenizer,
        max_length: int,
        batch_size: int = 32,
        class_weight: Mapping[int, float] | None = None,
        shuffle: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        check_batches(texts, labels, batch_size, class_weight)
        self.token_ids = encode_comments(tokenizer, texts, max_length)
        self.lengths = np.array([len(ids) for ids in self.token_ids])
        self.labels = None if labels is None else np.asarray(labels, np.int32)
        self.class_weight, self.pad_id = class_weight, tokenizer.pad_token_id
        self.batch_size, self.shuffle, self.seed, self.epoch = batch_size, shuffle, seed, 0
        self.batches = self.make_batches()
        self.inverse = np.argsort(np.concatenate(self.batches))

    def make_batches(self) -> list[NDArray[np.intp]]:
        """Return the row numbers of every batch of this epoch: rows of similar length stand together."""
        order, pool = np.arange(len(self.lengths)), len(self.lengths)
        if self.shuffle:
            random = np.random.default_rng([self.seed, self.epoch])
            order, pool = random.permutation(order), 50 * self.batch_size
        pools = [order[start : start + pool] for start in range(0, len(order), pool)]
        order = np.concatenate([rows[np.argsort(self.lengths[rows], kind="stable")] for rows in pools])
        batches = [order[start : start + self.batch_size] for start in range(0, len(order), self.batch_size)]
        return [batches[i] for i in random.permutation(len(batches))] if self.shuffle else batches

    def __len__(self) -> int:
        """Return the number of batches."""
        return len(self.batches)

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        """Return batch `index`."""
        rows = self.batches[index]
        width = self.lengths[rows].max()
        if index == 0 and len(self) > 1 and width == self.lengths[self.batches[1]].max():
            width += 1
        token_ids = np.full((len(rows), width), self.pad_id, np.int32)
        for row, i in zip(token_ids, rows, strict=True):
            row[: self.lengths[i]] = self.token_ids[i]
        mask = (np.arange(width) < self.lengths[rows, None]).astype(np.int32)
        inputs = {"token_ids": token_ids, "segment_ids": np.zeros_like(token_ids), "padding_mask": mask}
        if self.labels is None:
            return (inputs,)
        if self.class_weight is None:
            return inputs, self.labels[rows]
        return inputs, self.labels[rows], np.array([self.class_weight[y] for y in self.labels[rows]], np.float32)

    def fingerprint(self) -> dict[str, Any]:
        """Return what identifies the batches of all epochs, for `utils.training.Resume`."""
        order = {"shuffle": self.shuffle, "seed": self.seed, "batch_size": self.batch_size}
        weights = {str(label): weight for label, weight in (self.class_weight or {}).items()}
        digest = hashlib.sha256(np.concatenate([self.lengths, *self.token_ids]).tobytes())
        digest.update(b"" if self.labels is None else self.labels.tobytes())
        return {**order, "class_weight": weights, "comments": len(self.token_ids), "sha256": digest.hexdigest()}

    def on_epoch_end(self) -> None:
        """Make the next epoch's batches."""
        self.epoch += 1
        if self.shuffle:
            self.batches = self.make_batches()


def check_batches(
    texts: Sequence[str], labels: ArrayLike | None, batch_size: int, class_weight: Mapping[int, float] | None
) -> None:
    """Raise ValueError for arguments that `CommentBatches` cannot make batches of."""
    if not len(texts):
        raise ValueError("texts is empty, at least one comment is needed")
    if labels is not None:
        array = np.asarray(labels)
        if array.shape != (len(texts),):
            raise ValueError(f"labels must have one entry per text, shape ({len(texts)},), got {array.shape}")
        if array.min() < 0:
            row = int(np.argmax(array < 0))
            raise ValueError(f"labels has {array[row]} at index {row}; drop undecided comments first")
    elif class_weight is not None:
        raise ValueError("class_weight needs labels")
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")


def load_backbone(checkpoint: str | Path, *, pretrained: bool = True) -> BertBackbone:
    """Load the encoder of a BERT checkpoint into KerasHub's `BertBackbone`.

    Parameters
    ----------
    checkpoint : str or Path
        See `utils.checkpoints.find_checkpoint`. The weights may be model.safetensors, its shards, or
        pytorch_model.bin alone where PyTorch is installed; the tensors' names may begin with ``bert.`` or not and
        say ``LayerNorm.weight`` or ``LayerNorm.gamma``. A missing pooler is said aloud and starts at random.
    pretrained : bool
        False gives the same architecture with random weights, the control of every transfer experiment.

    Returns
    -------
    BertBackbone
        Inputs ``token_ids``, ``segment_ids``, ``padding_mask``, int32 (B, L); outputs ``sequence_output``
        (B, L, H) and ``pooled_output`` (B, H), H the hidden size. It computes in the precision of
        ``keras.config.dtype_policy()``; the weights are float32 always.

    Raises
    ------
    CheckpointError
        If the checkpoint cannot be read.

    Notes
    -----
    Hidden states differ from those of PyTorch Transformers by less than 1e-4 (`make test-long` compares random
    weights of KcBERT's shape). KerasHub alone would be 1e-3 off for KcBERT, see `use_gelu`.
    """
    from keras_hub.models import BertBackbone

    folder = find_checkpoint(checkpoint)
    config = read_config(folder)
    if pretrained:
        with keras_hub_folder(folder, config) as readable:
            backbone = BertBackbone.from_preset(str(readable), name=BACKBONE)
    else:
        backbone = BertBackbone(
            vocabulary_size=config["vocab_size"],
            num_layers=config["num_hidden_layers"],
            num_heads=config["num_attention_heads"],
            hidden_dim=config["hidden_size"],
            intermediate_dim=config["intermediate_size"],
            max_sequence_length=config["max_position_embeddings"],
            name=BACKBONE,
        )
    use_gelu(backbone, config["hidden_act"])
    return backbone


def use_gelu(backbone: BertBackbone, hidden_act: str) -> None:
    """Let a backbone compute GELU by the formula that its config names, as PyTorch Transformers does.

    KcBERT's config names ``gelu``, the formula with the error function (erf); KerasHub always computes the one with
    tanh, which comes close to it. On a CPU XLA makes one loop of the formula's operations.

    Parameters
    ----------
    backbone : BertBackbone
        Before it is called.
    hidden_act : str
        Name of the formula in Transformers' config.json; one of `utils.checkpoints.GELU_FORMULAS`.
    """
    backbone.hidden_act = hidden_act
    for layer in backbone.transformer_layers:
        layer._feedforward_intermediate_dense.activation = _gelu(GELU_FORMULAS[hidden_act] == "tanh")


@functools.cache
def _gelu(approximate: bool) -> Callable[[Any], Any]:
    formula = functools.partial(keras.activations.gelu, approximate=approximate)
    if keras.backend.backend() != "tensorflow" or gpu_compute_capability() is not None:
        return formula
    import tensorflow as tf

    return tf.function(formula, jit_compile=True, reduce_retracing=True)


def build_bert_classifier(
    backbone: BertBackbone, *, num_classes: int = 2, dropout: float = 0.1, pooling: str = "cls"
) -> keras.Model:
    """Put the classification head on a BERT: sentence vector -> dropout -> dense -> softmax.

    Parameters
    ----------
    backbone : BertBackbone
        From `load_backbone`. With ``backbone.trainable = False`` only the head learns.
    num_classes : int
        Number of classes K; column 1 of two is "controversial".
    dropout : float
        Share of the sentence vector dropped while training.
    pooling : {"cls", "mean"}
        The sentence vector: the vector of [CLS] after BERT's own dense layer (the pooler), or the mean of the
        vectors of all real tokens, which leaves the pooler out and sets it untrainable.

    Returns
    -------
    keras.Model
        From ``token_ids``, ``segment_ids`` and ``padding_mask``, int32 (B, L), to probabilities, float32 (B, K).

    Raises
    ------
    ValueError
        If `pooling` is neither.

    Notes
    -----
    The head of Devlin et al. 2019, section 4.1; the mean as in Reimers and Gurevych 2019. Explained in notebook 04.
    """
    if pooling not in ("cls", "mean"):
        raise ValueError(f'pooling must be "cls" or "mean", got {pooling!r}')
    inputs = {name: keras.Input((None,), dtype="int32", name=name) for name in backbone.input}
    vectors = backbone(inputs)
    if pooling == "cls":
        sentence_vector = vectors["pooled_output"]
    else:
        backbone.pooled_dense.trainable = False
        mean = keras.layers.GlobalAveragePooling1D(name="mean")
        sentence_vector = mean(vectors["sequence_output"], mask=inputs["padding_mask"])
    sentence_vector = keras.layers.Dropout(dropout, name="dropout")(sentence_vector)
    probabilities = keras.layers.Dense(num_classes, activation="softmax", dtype="float32", name="probabilities")(
        sentence_vector
    )
    return keras.Model(inputs, probabilities, name="bert_classifier")


def freeze(backbone: BertBackbone, tuning: str) -> None:
    """Choose which weights of a backbone learn: all ("full"), the upper half of the layers, or none ("frozen").

    Parameters
    ----------
    backbone : BertBackbone
        From `load_backbone`. Choose before it is compiled as a part of a classifier.
    tuning : {"full", "last-layers", "frozen"}
        With ``"last-layers"`` embeddings and the lower half of the layers stay as pretraining left them.

    Raises
    ------
    ValueError
        If `tuning` is none of them.
    """
    if tuning not in ("full", "last-layers", "frozen"):
        raise ValueError(f'tuning must be "full", "last-layers" or "frozen", got {tuning!r}')
    backbone.trainable = tuning != "frozen"
    if tuning == "last-layers":
        lower = backbone.transformer_layers[: (len(backbone.transformer_layers) + 1) // 2]
        embeddings = [backbone.token_embedding, backbone.position_embedding, backbone.segment_embedding]
        for layer in (*embeddings, backbone.embeddings_layer_norm, *lower):
            layer.trainable = False
