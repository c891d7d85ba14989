"""Pretraining a small BERT: WordPiece vocabulary, sentence pairs, masking, model, checkpoint (사전학습)."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import keras
import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from utils.bert import load_backbone
from utils.checkpoints import CONFIG, SAFETENSORS, TOKENIZER_CONFIG, VOCABULARY, checkpoint_error, find_checkpoint
from utils.files import atomic_path

if TYPE_CHECKING:
    from keras_hub.models import BertBackbone
    from transformers import BertTokenizer

SPECIAL_TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
PAD, UNK, CLS, SEP, MASK = range(5)
IGNORED = 0
SENTENCE_END = re.compile(r"(?<=[.!?…])\s+|(?<=[.!?…])(?=[가-힣])|\n+|(?<=[ㅋㅎㅠㅜ]{2})\s+")
WORD = re.compile(r"[가-힣A-Za-z0-9]")


def wordpiece_characters(texts: Iterable[str], *, most: int) -> tuple[list[str], list[str]]:
    """Return what WordPiece starts from: the characters, and those that continue a word with ``##`` before them.

    Left to itself, the Tokenizers library numbers them in the random order of a hash table and breaks ties between
    merges by these numbers, so that the same comments give another vocabulary each time.

    Parameters
    ----------
    texts : iterable of str
        Cleaned comments.
    most : int
        Most characters to keep, the frequent ones first.

    Returns
    -------
    tuple of list of str
        The characters, and the continuations ("##가"), each in the order of their code points.
    """
    from tokenizers.normalizers import BertNormalizer
    from tokenizers.pre_tokenizers import BertPreTokenizer

    normalizer, splitter = BertNormalizer(strip_accents=False, lowercase=False), BertPreTokenizer()
    words: Counter[str] = Counter()
    for text in texts:
        words.update(word for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text)))
    counts: Counter[str] = Counter()
    for word, count in words.items():
        for character in word:
            counts[character] += count
    kept = set(sorted(counts, key=lambda character: (-counts[character], character))[:most])
    continuing = {character for word in words for character in word[1:]} & kept
    return sorted(kept), [f"##{character}" for character in sorted(continuing)]


def train_wordpiece(texts: Iterable[str], *, vocabulary_size: int, max_characters: int | None = None) -> list[str]:
    """Learn a WordPiece vocabulary the way KcBERT's was learned.

    KcBERT used `BertWordPieceTokenizer` of the Tokenizers library, cased, on cleaned comments, with 30,000
    entries (its README, "Tokenizer Train"). Accents are not stripped: that would take Hangul apart.

    Parameters
    ----------
    texts : iterable of str
        Cleaned comments.
    vocabulary_size : int
        Most entries, special tokens included.
    max_characters : int, optional
        Most single characters in the vocabulary; rarer ones become [UNK]. Half of `vocabulary_size` by default.

    Returns
    -------
    list of str
        The tokens in the order of their ids; the first five are the special tokens.
    """
    from tokenizers import BertWordPieceTokenizer

    check_vocabulary_size(vocabulary_size)
    learner = BertWordPieceTokenizer(strip_accents=False, lowercase=False)
    texts = list(texts)
    alphabet, continuations = wordpiece_characters(texts, most=max_characters or vocabulary_size // 2)
    learner.train_from_iterator(
        texts,
        vocab_size=vocabulary_size,
        initial_alphabet=alphabet,
        limit_alphabet=len(alphabet),
        special_tokens=SPECIAL_TOKENS + continuations,
        show_progress=False,
    )
    ids = learner.get_vocab(with_added_tokens=True)
    return sorted(ids, key=ids.__getitem__)


def check_vocabulary_size(vocabulary_size: int) -> None:
    """Raise ValueError for a vocabulary that has no room beside the special tokens."""
    if vocabulary_size < 10:
        raise ValueError(f"vocabulary_size must be at least 10, got {vocabulary_size}")


def split_sentences(text: str) -> list[str]:
    """Cut a comment into sentences (문장 나누기).

    A sentence ends at a line break, after ``.``, ``!``, ``?`` or ``…`` before a blank or a Hangul syllable, and
    after a run of ㅋㅋ, ㅎㅎ, ㅠㅠ or ㅜㅜ before a blank: web comments often close with those alone. A piece
    without a letter or digit (``"!!"``, ``"ㅋㅋ"``) stays with the sentence before it. ``3.5`` is not cut.

    Parameters
    ----------
    text : str
        A cleaned comment.

    Returns
    -------
    list of str
        At least one sentence unless `text` is blank.
    """
    sentences: list[str] = []
    for piece in filter(None, (part.strip() for part in SENTENCE_END.split(text))):
        if sentences and not WORD.search(piece):
            sentences[-1] += " " + piece
        else:
            sentences.append(piece)
    return sentences


class Masked(NamedTuple):
    """What `mask_tokens` returns; M is the number of slots for masked tokens in a row.

    Attributes
    ----------
    token_ids : int32 array, shape (B, L)
        The ids after masking.
    positions : int32 array, shape (B, M)
        Where the model must guess; 0 in an unused slot.
    labels : int32 array, shape (B, M)
        The ids that stood there; 0 in an unused slot.
    weights : float32 array, shape (B, M)
        1 in a used slot, 0 in an unused one.
    """

    token_ids: NDArray[np.int32]
    positions: NDArray[np.int32]
    labels: NDArray[np.int32]
    weights: NDArray[np.float32]


def mask_tokens(
    token_ids: NDArray[np.int32],
    random: np.random.Generator,
    *,
    vocabulary_size: int,
    share: float = 0.15,
    words: NDArray[np.intp] | None = None,
) -> Masked:
    """Choose a share of the ordinary tokens of each row and hide them (마스킹).

    BERT chooses 15 %. Of the chosen tokens 80 % become [MASK], 10 % another ordinary token drawn at random, and 10 %
    stay as they are (Devlin et al. 2019, section 3.1). Special tokens are never chosen. Explained in notebook 03.

    Parameters
    ----------
    token_ids : int32 array, shape (B, L)
        Ids below 5 are special tokens.
    random : numpy Generator
        Every call draws anew, so an epoch never sees the masks of another (dynamic masking).
    vocabulary_size : int
        Number of ids.
    share : float
        Share of a row's ordinary tokens to choose, rounded, at least one token; a row holds at least two special ones.
    words : int array, shape (B, L), optional
        The number of each token's word within its row. The tokens of a word are then chosen together, but for the
        last word, of which only a part may fit (whole-word masking).
    """
    ordinary = token_ids >= len(SPECIAL_TOKENS)
    draws = random.random(token_ids.shape)
    draws = draws if words is None else np.take_along_axis(draws, words, 1)
    chosen_count = np.where(ordinary.any(1), np.maximum(1, np.rint(share * ordinary.sum(1))), 0)
    slots = max(1, round(share * (token_ids.shape[1] - 2)))  # [CLS] and [SEP] are never chosen
    order = np.argsort(np.where(ordinary, draws, 2.0), axis=1, kind="stable")[:, :slots]
    used = np.arange(slots) < chosen_count[:, None]
    positions = np.where(used, order, 0)
    labels = np.where(used, np.take_along_axis(token_ids, positions, 1), IGNORED)
    dice = random.random(positions.shape)
    others = random.integers(len(SPECIAL_TOKENS), vocabulary_size, positions.shape)
    shown = np.select([dice < 0.8, dice < 0.9], [np.full_like(labels, MASK), others], labels)
    masked = token_ids.copy()
    rows = np.broadcast_to(np.arange(len(token_ids))[:, None], positions.shape)
    masked[rows[used], positions[used]] = shown[used]
    return Masked(masked, positions.astype(np.int32), labels.astype(np.int32), used.astype(np.float32))


class Pair(NamedTuple):
    """One line of pretraining text: `second` is empty for a one-sentence comment.

    `replaced` is 1 where `second` comes from another comment, 0 where it truly follows; `weight` is 0 for a
    one-sentence comment, which trains masked LM alone.
    """

    first: list[int]
    second: list[int]
    replaced: int
    weight: float


def draw_pair(comments: Sequence[list[list[int]]], row: int, random: np.random.Generator) -> Pair:
    """Draw two adjacent sentences of comment `row`; half of the time the second is from another comment.

    Parameters
    ----------
    comments : sequence of list of list of int
        Token ids of the sentences of each comment, at least one sentence each.
    row : int
        Which comment.
    random : numpy Generator
        Draws the place, whether to replace, and the sentence to put there. Explained in notebook 03.
    """
    sentences = comments[row]
    if len(sentences) == 1:
        return Pair(sentences[0], [], 0, 0.0)
    place = int(random.integers(len(sentences) - 1))
    first, second = sentences[place], sentences[place + 1]
    if len(comments) == 1 or random.random() < 0.5:
        return Pair(first, second, 0, 1.0)
    other = comments[(row + 1 + int(random.integers(len(comments) - 1))) % len(comments)]
    return Pair(first, other[int(random.integers(len(other)))], 1, 1.0)


def pack_pairs(pairs: Sequence[Pair], length: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Write pairs as ``[CLS] first [SEP] second [SEP]``, the longer sentence cut until a row fits.

    Parameters
    ----------
    pairs : sequence of Pair, length B
        From `draw_pair`.
    length : int
        Length L of a row.

    Returns
    -------
    token_ids, segment_ids : int32 arrays, shape (B, L)
        Padded with 0; the segment is 1 from the second sentence on.
    """
    token_ids = np.full((len(pairs), length), PAD, np.int32)
    segment_ids = np.zeros_like(token_ids)
    for row, pair in enumerate(pairs):
        room = length - (3 if pair.second else 2)
        second_room = min(len(pair.second), max(room // 2, room - len(pair.first)))
        first, second = pair.first[: room - second_room], pair.second[:second_room]
        line = [CLS, *first, SEP, *second, SEP] if second else [CLS, *first, SEP]
        token_ids[row, : len(line)] = line
        segment_ids[row, len(first) + 2 : len(line)] = 1
    return token_ids, segment_ids


class PretrainingBatches(keras.utils.PyDataset):
    """Batches of masked sentence pairs, all of one shape.

    Parameters
    ----------
    comments : sequence of list of list of int
        From `encode_sentences`; N comments.
    vocabulary_size : int
        Number of token ids.
    steps : int
        Batches an epoch. Comments are dealt out like cards: each once, shuffled, then all again.
    batch_size, length : int
        Shape (B, L) of a batch.
    mask_share : float
        Share of a row's ordinary tokens to guess.
    seed : int
        Batch number k of all epochs depends on `seed` and k alone.
    fixed : bool
        True for held-out text: every epoch sees the same pairs and masks.

    Notes
    -----
    A batch is ``(inputs, labels, weights)``, three dictionaries: inputs ``token_ids``, ``segment_ids``,
    ``padding_mask`` (B, L) and ``mask_positions`` (B, M), int32; labels and weights ``masked_lm`` (B, M) and
    ``next_sentence`` (B,).
    """

    def __init__(
        self,
        comments: Sequence[list[list[int]]],
        *,
        vocabulary_size: int,
        steps: int,
        batch_size: int = 64,
        length: int = 48,
        mask_share: float = 0.15,
        seed: int = 0,
        fixed: bool = False,
    ) -> None:
        super().__init__()
        if not comments:
            raise ValueError("comments is empty, there is nothing to pretrain on")
        self.comments, self.vocabulary_size, self.steps = comments, vocabulary_size, steps
        self.batch_size, self.length, self.mask_share = batch_size, length, mask_share
        self.seed, self.fixed, self.epoch = seed, fixed, 0
        self.decks: dict[int, NDArray[np.intp]] = {}

    def __len__(self) -> int:
        """Return the number of batches of an epoch."""
        return self.steps

    def __getitem__(self, index: int) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        """Return batch `index` of the present epoch."""
        number = self.epoch * self.steps + index
        random = np.random.default_rng([self.seed, 1, number])
        pairs = [draw_pair(self.comments, row, random) for row in self.deal(number)]
        token_ids, segment_ids = pack_pairs(pairs, self.length)
        masked = mask_tokens(token_ids, random, vocabulary_size=self.vocabulary_size, share=self.mask_share)
        inputs = {
            "token_ids": masked.token_ids,
            "segment_ids": segment_ids,
            "padding_mask": (token_ids != PAD).astype(np.int32),
            "mask_positions": masked.positions,
        }
        replaced = np.array([pair.replaced for pair in pairs], np.int32)
        weights = np.array([pair.weight for pair in pairs], np.float32)
        return (
            inputs,
            {"masked_lm": masked.labels, "next_sentence": replaced},
            {"masked_lm": masked.weights, "next_sentence": weights},
        )

    def deal(self, number: int) -> list[int]:
        """Return the comments of batch `number`, counted over all epochs."""
        cards = np.arange(number * self.batch_size, (number + 1) * self.batch_size)
        rounds, places = np.divmod(cards, len(self.comments))
        return [int(self.shuffled(turn)[place]) for turn, place in zip(rounds.tolist(), places.tolist(), strict=True)]

    def shuffled(self, turn: int) -> NDArray[np.intp]:
        """Return all rows in the order of round `turn`; the latest round is kept, a batch needs it many times."""
        if turn not in self.decks:
            self.decks = {turn: np.random.default_rng([self.seed, 0, turn]).permutation(len(self.comments))}
        return self.decks[turn]

    def fingerprint(self) -> dict[str, Any]:
        """Return what identifies the batches of all epochs, for `utils.training.Resume`."""
        shape = {"steps": self.steps, "batch_size": self.batch_size, "length": self.length}
        masks = {"mask_share": self.mask_share, "vocabulary_size": self.vocabulary_size, "seed": self.seed}
        digest = hashlib.sha256()
        for comment in self.comments:
            digest.update(repr(comment).encode())
        return {**shape, **masks, "comments": len(self.comments), "sha256": digest.hexdigest()}

    def on_epoch_end(self) -> None:
        """Go on to the next epoch's batches."""
        if not self.fixed:
            self.epoch += 1


def encode_sentences(tokenizer: BertTokenizer, texts: Sequence[str]) -> list[list[list[int]]]:
    """Turn cleaned comments into the token ids of their sentences, without special tokens.

    Comments of which nothing is left are dropped.
    """
    sentences = [split_sentences(text) for text in texts]
    flat = [sentence for comment in sentences for sentence in comment]
    ids = iter(tokenizer(flat, add_special_tokens=False, verbose=False)["input_ids"] if flat else [])
    encoded = [[next(ids) for _ in comment] for comment in sentences]
    encoded = [[sentence for sentence in comment if sentence] for comment in encoded]
    return [comment for comment in encoded if comment]


def build_pretraining_model(backbone: BertBackbone, token_counts: ArrayLike | None = None) -> keras.Model:
    """Put BERT's two pretraining heads on a backbone: masked LM and next sentence.

    Only the masked positions go through the masked-LM head, about one in seven, which saves most of the
    multiplication with the vocabulary. Its output matrix is the token embedding itself (tied weights).

    Parameters
    ----------
    backbone : BertBackbone
        Vocabulary size V.
    token_counts : array_like of int, shape (V,), optional
        How often each token occurs. The masked-LM bias then starts at the log frequencies, so that the first steps
        are not spent on learning which tokens are rare.

    Returns
    -------
    keras.Model
        From ``token_ids``, ``segment_ids``, ``padding_mask`` (B, L) and ``mask_positions`` (B, M), int32, to
        logits ``masked_lm`` (B, M, V) and ``next_sentence`` (B, 2), float32; 1 means "replaced".

    Notes
    -----
    Devlin et al. 2019, section 3.1. Explained in notebook 03.
    """
    from keras_hub.layers import MaskedLMHead

    inputs = {name: keras.Input((None,), dtype="int32", name=name) for name in (*backbone.input, "mask_positions")}
    encoded = backbone({name: inputs[name] for name in backbone.input})
    masked_lm = MaskedLMHead(
        token_embedding=backbone.token_embedding,
        intermediate_activation=lambda x: keras.activations.gelu(x, approximate=True),
        layer_norm_epsilon=1e-12,
        kernel_initializer=keras.initializers.TruncatedNormal(stddev=0.02),
        name="masked_lm",
    )(encoded["sequence_output"], mask_positions=inputs["mask_positions"])
    next_sentence = keras.layers.Dense(2, name="next_sentence")(encoded["pooled_output"])
    outputs = {"masked_lm": masked_lm, "next_sentence": next_sentence}
    model = keras.Model(inputs, outputs, name="bert_pretraining")
    if token_counts is not None:
        smoothed = np.asarray(token_counts) + 1
        model.get_layer("masked_lm")._bias.assign(np.log(smoothed / smoothed.sum()))
    return model


def save_checkpoint(
    model: keras.Model, vocabulary: Sequence[str], folder: Path, *, dtype: DTypeLike = np.float32
) -> None:
    """Write a pretrained model as a folder in Hugging Face format, whole or not at all.

    KerasHub, `utils.bert` and PyTorch Transformers (``BertForPreTraining``) read it.

    Parameters
    ----------
    model : keras.Model
        From `build_pretraining_model`.
    vocabulary : sequence of str
        Tokens in the order of their ids.
    folder : Path
        Gets config.json, model.safetensors, vocab.txt and tokenizer_config.json.
    dtype : dtype
        How weights are stored. float16 halves the file and is read back as float32.
    """
    from safetensors.numpy import save_file

    backbone = next(layer for layer in model.layers if hasattr(layer, "token_embedding") and layer.name != "masked_lm")
    config = {
        "architectures": ["BertForPreTraining"],
        "attention_probs_dropout_prob": 0.1,
        "dtype": "float32",
        "hidden_act": "gelu_pytorch_tanh",
        "hidden_dropout_prob": 0.1,
        "hidden_size": backbone.hidden_dim,
        "initializer_range": 0.02,
        "intermediate_size": backbone.intermediate_dim,
        "layer_norm_eps": 1e-12,
        "max_position_embeddings": backbone.max_sequence_length,
        "model_type": "bert",
        "num_attention_heads": backbone.num_heads,
        "num_hidden_layers": backbone.num_layers,
        "pad_token_id": PAD,
        "type_vocab_size": backbone.num_segments,
        "vocab_size": backbone.vocabulary_size,
    }
    tokenizer_config = {
        "do_lower_case": False,
        "model_max_length": backbone.max_sequence_length,
        "strip_accents": False,
        "tokenizer_class": "BertTokenizer",
    }
    with atomic_path(folder) as temporary:
        temporary.mkdir()
        (temporary / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        (temporary / TOKENIZER_CONFIG).write_text(json.dumps(tokenizer_config, indent=2) + "\n", encoding="utf-8")
        write_vocabulary(vocabulary, temporary)
        weights = {name: value.astype(dtype) for name, value in _hugging_face_weights(model, backbone).items()}
        save_file(weights, temporary / SAFETENSORS, metadata={"format": "pt"})


def load_pretraining_model(checkpoint: str | Path) -> keras.Model:
    """Build the model of `build_pretraining_model` from a checkpoint that has the masked-LM head as well.

    Parameters
    ----------
    checkpoint : str or Path
        See `utils.checkpoints.find_checkpoint`; the weights in one model.safetensors. Without a next-sentence head,
        which KcBERT was published without, that head keeps random weights.

    Raises
    ------
    CheckpointError
        If the checkpoint cannot be read or has no masked-LM head.
    """
    from safetensors import safe_open

    folder = find_checkpoint(checkpoint)
    model = build_pretraining_model(load_backbone(folder))
    with safe_open(folder / SAFETENSORS, framework="np") as file:
        stored = {name: file.get_tensor(name) for name in file.keys() if name.startswith("cls.")}
    if "cls.predictions.bias" not in stored:
        raise checkpoint_error(folder, f"{SAFETENSORS} has no masked-LM head (cls.predictions), it cannot guess words.")
    head, transform = model.get_layer("masked_lm"), "cls.predictions.transform"
    layers = {f"{transform}.dense": head._intermediate_dense, "cls.seq_relationship": model.get_layer("next_sentence")}
    for name, layer in layers.items():
        if f"{name}.weight" in stored:
            layer.set_weights([stored[f"{name}.weight"].T, stored[f"{name}.bias"]])
    norm = [name for name in stored if name.startswith(f"{transform}.LayerNorm.")]
    scale, shift = sorted(norm, key=lambda name: name.endswith((".bias", ".beta")))
    head._intermediate_layer_norm.set_weights([stored[scale], stored[shift]])
    head._bias.assign(stored["cls.predictions.bias"])
    return model


def write_vocabulary(vocabulary: Sequence[str], folder: Path) -> Path:
    """Write vocab.txt, one token a line, into `folder` and return its path."""
    path = folder / VOCABULARY
    path.write_text("".join(f"{token}\n" for token in vocabulary), encoding="utf-8")
    return path


def _hugging_face_weights(model: keras.Model, backbone: BertBackbone) -> dict[str, NDArray[np.float32]]:
    tensors: dict[str, Any] = {
        "bert.embeddings.word_embeddings.weight": backbone.token_embedding.embeddings,
        "bert.embeddings.position_embeddings.weight": backbone.position_embedding.position_embeddings,
        "bert.embeddings.token_type_embeddings.weight": backbone.segment_embedding.embeddings,
        **_norm("bert.embeddings", backbone.embeddings_layer_norm),
        **_dense("bert.pooler.dense", backbone.pooled_dense),
    }
    for number, block in enumerate(backbone.transformer_layers):
        prefix, attention = f"bert.encoder.layer.{number}", block._self_attention_layer
        tensors |= {
            **_dense(f"{prefix}.attention.self.query", attention.query_dense, backbone.hidden_dim),
            **_dense(f"{prefix}.attention.self.key", attention.key_dense, backbone.hidden_dim),
            **_dense(f"{prefix}.attention.self.value", attention.value_dense, backbone.hidden_dim),
            **_dense(f"{prefix}.attention.output.dense", attention.output_dense, backbone.hidden_dim),
            **_norm(f"{prefix}.attention.output", block._self_attention_layer_norm),
            **_dense(f"{prefix}.intermediate.dense", block._feedforward_intermediate_dense),
            **_dense(f"{prefix}.output.dense", block._feedforward_output_dense),
            **_norm(f"{prefix}.output", block._feedforward_layer_norm),
        }
    head = model.get_layer("masked_lm")
    tensors |= {
        **_dense("cls.predictions.transform.dense", head._intermediate_dense),
        **_norm("cls.predictions.transform", head._intermediate_layer_norm),
        "cls.predictions.bias": head._bias,
        **_dense("cls.seq_relationship", model.get_layer("next_sentence")),
    }
    return {
        name: np.ascontiguousarray(keras.ops.convert_to_numpy(value), np.float32) for name, value in tensors.items()
    }


def _norm(name: str, layer: keras.layers.Layer) -> dict[str, Any]:
    return {f"{name}.LayerNorm.weight": layer.gamma, f"{name}.LayerNorm.bias": layer.beta}


def _dense(name: str, layer: keras.layers.Layer, hidden_dim: int | None = None) -> dict[str, Any]:
    kernel = keras.ops.convert_to_numpy(layer.kernel)
    if hidden_dim is not None:  # attention kernels are (H, heads, H / heads) or (heads, H / heads, H)
        kernel = kernel.reshape(hidden_dim, hidden_dim)
    return {f"{name}.weight": kernel.T, f"{name}.bias": keras.ops.convert_to_numpy(layer.bias).reshape(-1)}
