"""Text classifiers that can be saved, loaded and asked about raw comments.

A saved classifier is a folder with `classifier.json` (its kind, its settings, the names of its classes and the SHA-256
of every file, its own content included) beside weights as safetensors or `.keras` and vocabularies as JSON. Nothing is
pickled.

To add a kind: subclass `TextClassifier`, give it a `kind`, `settings`, `write_files`, `read_files` and
`predict_proba`, and decorate it with `@register`.
"""

import hashlib
import json
import os
import warnings
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from utils.classes import check_class_names
from utils.files import atomic_path, sha256_of
from utils.text import check_texts, clean_comment, encode_tokens, tokenize, tokenizer_settings

if TYPE_CHECKING:
    import keras
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from transformers import BertTokenizer

FORMAT_VERSION = 1
BERT_CARD = """# A fine-tuned BERT for comments

`load_classifier(folder).predict_proba(["..."])` of `utils.classifier` gives the probabilities of the classes
{classes}, in this order.

* **Base checkpoint.** {base}.
* **Data and scores.** {about}.
* **Settings.** Comments are cut after {max_length} tokens; the sentence vector is "{pooling}"; dropout {dropout:g};
  {num_layers} layers of width {hidden_dim}, {vocabulary_size:,} word pieces.
* **Limits.** It repeats the habits of whoever voted on or labelled its training comments, and guesses about any other
  kind of text. It is no reason to hide a comment or to judge its writer.
* **Licence.** The base checkpoint's licence holds (KcBERT: MIT on GitHub, Apache-2.0 on its hub card); the training
  comments are their writers', and none is in this folder.
"""
MANIFEST = "classifier.json"
KERAS_HUB_GELU = "gelu_pytorch_tanh"


class ClassifierFolderError(ValueError):
    """A folder is not a whole, unaltered classifier; the message names the file."""


class TextClassifier(ABC):
    """Something that gives class probabilities for raw comments.

    Attributes
    ----------
    class_names : tuple of str, length K
        The name of each class, in the order of the columns of `predict_proba`; `("0", "1", ...)` where none were given.
        They are saved and loaded with the classifier.
    """

    kind: ClassVar[str]
    class_names: tuple[str, ...] = ()

    @abstractmethod
    def predict_proba(self, texts: Iterable[str]) -> NDArray[np.float32]:
        """Return the class probabilities of raw comments.

        Parameters
        ----------
        texts : iterable of str
            N comments, of any length, empty ones too.

        Returns
        -------
        ndarray of float32, shape (N, K)
            Rows sum to 1; the columns are the classes `class_names`, so where labels came from votes column 1 is
            "controversial". `(0, K)` for an empty list.

        Raises
        ------
        TypeError
            `texts` is one bare string, or an item is not a string.
        """

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Return what besides the files is needed to rebuild the classifier, fit for JSON."""

    @abstractmethod
    def write_files(self, folder: Path) -> None:
        """Write weights and vocabulary into an empty folder."""

    @classmethod
    @abstractmethod
    def read_files(cls, folder: Path, settings: Mapping[str, Any]) -> Self:
        """Rebuild the classifier from files whose hashes have been checked."""

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the classifier, whole or not at all; it takes the place of one saved in this folder before.

        Raises
        ------
        FileExistsError
            The folder holds something else than a saved classifier, or `folder` is a file.
        OSError
            The disk is full or fails; a classifier saved before is still there.
        """
        folder = Path(folder)
        if folder.exists() and not folder.is_dir():
            raise FileExistsError(f"{folder} is a file: save into a new folder")
        if folder.is_dir() and any(folder.iterdir()) and not (folder / MANIFEST).is_file():
            raise FileExistsError(f"{folder} is not empty and holds no saved classifier: save into a new folder")
        with atomic_path(folder) as unfinished:
            unfinished.mkdir()
            self.write_files(unfinished)
            files = sorted(path for path in unfinished.rglob("*") if path.is_file())
            manifest = {
                "kind": self.kind,
                "format_version": FORMAT_VERSION,
                "settings": self.settings(),
                "class_names": list(self.class_names),
                "files": {path.relative_to(unfinished).as_posix(): sha256_of(path) for path in files},
            }
            write_json(unfinished / MANIFEST, {**manifest, "sha256": manifest_digest(manifest)})


KINDS: dict[str, type[TextClassifier]] = {}


def register(kind: type[TextClassifier]) -> type[TextClassifier]:
    """Make a kind of classifier known to `load_classifier`."""
    KINDS[kind.kind] = kind
    return kind


def load_classifier(folder: str | os.PathLike[str]) -> TextClassifier:
    """Load a classifier that `save` wrote, whatever its kind.

    Raises
    ------
    ClassifierFolderError
        `classifier.json` or a file it names is missing or altered, or its kind or format is not known.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    for name, digest in manifest["files"].items():
        path = folder / name
        if not path.is_file():
            raise ClassifierFolderError(f"{path} is missing: save the classifier again")
        if sha256_of(path) != digest:
            raise ClassifierFolderError(f"{path} was altered after it was saved: save the classifier again")
    classifier = KINDS[manifest["kind"]].read_files(folder, manifest["settings"])
    class_names = manifest.get("class_names")  # folders saved by earlier versions have none
    if class_names:
        classifier.class_names = check_class_names(class_names, classifier.predict_proba([]).shape[1])
    return classifier


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return the content of `classifier.json` after checking its form, kind and version."""
    path = folder / MANIFEST
    if not path.is_file():
        raise ClassifierFolderError(f"{path} is missing: {folder} does not hold a saved classifier")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ClassifierFolderError(f"{path} is not JSON ({error}): save the classifier again") from error
    forms = {"kind": str, "format_version": int, "settings": dict, "files": dict}
    if not isinstance(manifest, dict) or not all(isinstance(manifest.get(key), form) for key, form in forms.items()):
        raise ClassifierFolderError(f"{path} lacks kind, format_version, settings or files: save the classifier again")
    if manifest["format_version"] != FORMAT_VERSION:
        raise ClassifierFolderError(
            f"{path} has format_version {manifest['format_version']!r}, this code reads {FORMAT_VERSION}"
        )
    if manifest["kind"] not in KINDS:
        raise ClassifierFolderError(f"{path} has kind {manifest['kind']!r}, not one of {sorted(KINDS)}")
    digest = manifest_digest(manifest)
    if manifest.get("sha256", digest) != digest:  # folders saved by earlier versions carry none
        raise ClassifierFolderError(f"{path} was altered after it was saved: save the classifier again")
    return manifest


def manifest_digest(manifest: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a manifest's content without the digest it carries."""
    content = {key: value for key, value in manifest.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def write_json(path: Path, content: Any) -> None:
    """Write JSON that people can read."""
    path.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """Read a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def character_ngrams(text: str, *, shortest: int = 2, longest: int = 4) -> list[str]:
    """Return the character n-grams inside the words of a comment, word ends marked by a space.

    The comment is cleaned and lower-cased first. These are the n-grams of scikit-learn's `analyzer="char_wb"`.

    Parameters
    ----------
    text : str
        A raw comment.
    shortest, longest : int, optional
        Lengths of the n-grams, both included.
    """
    grams = []
    for word in clean_comment(text).lower().split():
        word = f" {word} "
        for length in range(shortest, longest + 1):
            grams.append(word[:length])
            grams.extend(word[start : start + length] for start in range(1, len(word) - length + 1))
            if len(word) <= length:  # a shorter word is counted once, not once for every length
                break
    return grams


def softmax(scores: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the row-wise softmax of (N, K) scores."""
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)


@register
class TfidfClassifier(TextClassifier):
    """Logistic regression on TF-IDF weights of character n-grams.

    Parameters
    ----------
    vocabulary : mapping of str to int
        Column of each n-gram, V of them.
    idf : ndarray of float32, shape (V,)
        Inverse document frequencies.
    coefficients : ndarray of float32, shape (K, V)
    intercepts : ndarray of float32, shape (K,)
    ngrams : tuple of int
        Shortest and longest n-gram.
    sublinear : bool
        Count n occurrences as 1 + ln n.
    class_names : sequence of str, length K, optional
    """

    kind = "tfidf-logreg"

    def __init__(
        self,
        vocabulary: Mapping[str, int],
        idf: NDArray[np.float32],
        coefficients: NDArray[np.float32],
        intercepts: NDArray[np.float32],
        *,
        ngrams: tuple[int, int],
        sublinear: bool,
        class_names: Sequence[str] | None = None,
    ) -> None:
        self.vocabulary = dict(vocabulary)
        self.idf = idf
        self.coefficients = coefficients
        self.intercepts = intercepts
        self.ngrams = ngrams
        self.sublinear = sublinear
        self.class_names = check_class_names(class_names, len(intercepts))

    @classmethod
    def from_sklearn(
        cls,
        vectorizer: "TfidfVectorizer",
        regression: "LogisticRegression",
        *,
        ngrams: tuple[int, int],
        class_names: Sequence[str] | None = None,
    ) -> Self:
        """Take over what scikit-learn fitted.

        Parameters
        ----------
        vectorizer : TfidfVectorizer
            Fitted with `analyzer=functools.partial(character_ngrams, shortest=..., longest=...)` and `norm="l2"`.
        regression : LogisticRegression
            Fitted on the vectorizer's output, classes 0 to K - 1.
        ngrams : tuple of int
            The `shortest` and `longest` of the analyzer.
        class_names : sequence of str, length K, optional
            By default "0", "1", ...
        """
        coefficients, intercepts = regression.coef_, regression.intercept_
        if len(coefficients) == 1:  # two classes: sigmoid(z) is softmax((0, z))
            coefficients = np.vstack([np.zeros_like(coefficients), coefficients])
            intercepts = np.append(0.0, intercepts)
        return cls(
            {term: int(column) for term, column in vectorizer.vocabulary_.items()},
            vectorizer.idf_.astype(np.float32),
            coefficients.astype(np.float32),
            intercepts.astype(np.float32),
            ngrams=ngrams,
            sublinear=bool(vectorizer.sublinear_tf),
            class_names=class_names,
        )

    def predict_proba(self, texts: Iterable[str]) -> NDArray[np.float32]:
        """Return float32 probabilities (N, K) of raw comments."""
        checked = check_texts(texts)
        scores = np.empty((len(checked), len(self.intercepts)))
        for row, text in enumerate(checked):
            columns, weights = self.weigh(text)
            scores[row] = self.coefficients[:, columns] @ weights + self.intercepts
        return softmax(scores)

    def weigh(self, text: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the columns of the n-grams in a comment and their TF-IDF weights, of L2 norm 1."""
        shortest, longest = self.ngrams
        grams = character_ngrams(text, shortest=shortest, longest=longest)
        counts = Counter(self.vocabulary[gram] for gram in grams if gram in self.vocabulary)
        columns = np.fromiter(counts.keys(), dtype=np.int64, count=len(counts))
        weights = np.fromiter(counts.values(), dtype=np.float64, count=len(counts))
        if self.sublinear:
            weights = 1 + np.log(weights)
        weights *= self.idf[columns]
        norm = np.linalg.norm(weights)
        return columns, weights / norm if norm else weights

    def settings(self) -> dict[str, Any]:
        """Return the n-gram lengths and the counting."""
        return {"ngrams": list(self.ngrams), "sublinear": self.sublinear}

    def write_files(self, folder: Path) -> None:
        """Write `vocabulary.json` and `weights.safetensors`."""
        write_json(folder / "vocabulary.json", self.vocabulary)
        tensors = {"idf": self.idf, "coefficients": self.coefficients, "intercepts": self.intercepts}
        save_file(
            {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}, folder / "weights.safetensors"
        )

    @classmethod
    def read_files(cls, folder: Path, settings: Mapping[str, Any]) -> Self:
        """Rebuild the classifier from its two files."""
        shortest, longest = settings["ngrams"]
        weights = load_file(folder / "weights.safetensors")
        return cls(
            read_json(folder / "vocabulary.json"),
            weights["idf"],
            weights["coefficients"],
            weights["intercepts"],
            ngrams=(shortest, longest),
            sublinear=settings["sublinear"],
        )


@register
class TextCnnClassifier(TextClassifier):
    """A Text-CNN with the vocabulary and tokenizer it was trained with.

    Parameters
    ----------
    model : keras.Model
        Maps int32 ids (N, max_length) to probabilities (N, K), as `build_text_cnn` makes it.
    vocabulary : mapping of str to int
        As `build_vocabulary` makes it.
    class_names : sequence of str, length K, optional
        By default "0", "1", ...
    """

    kind = "text-cnn"

    def __init__(
        self, model: "keras.Model", vocabulary: Mapping[str, int], *, class_names: Sequence[str] | None = None
    ) -> None:
        self.model = model
        self.vocabulary = dict(vocabulary)
        self.max_length = int(model.input_shape[1])
        self.num_classes = int(model.output_shape[1])
        self.class_names = check_class_names(class_names, self.num_classes)

    def predict_proba(self, texts: Iterable[str]) -> NDArray[np.float32]:
        """Return float32 probabilities (N, K) of raw comments."""
        sentences = tokenize(texts)
        if not sentences:
            return np.empty((0, self.num_classes), dtype=np.float32)
        ids = encode_tokens(sentences, self.vocabulary, max_length=self.max_length)
        return np.asarray(self.model.predict(ids, batch_size=256, verbose=0), dtype=np.float32)

    def settings(self) -> dict[str, Any]:
        """Return the tokenizer, its versions and how it is asked."""
        return {"tokenizer": "kiwi", **tokenizer_settings()}

    def write_files(self, folder: Path) -> None:
        """Write `vocabulary.json` and `model.keras`, without the optimizer's state."""
        import keras

        write_json(folder / "vocabulary.json", self.vocabulary)
        keras.Model(self.model.inputs, self.model.outputs).save(folder / "model.keras")

    @classmethod
    def read_files(cls, folder: Path, settings: Mapping[str, Any]) -> Self:
        """Rebuild the classifier from its two files."""
        import keras

        here = {"tokenizer": "kiwi", **tokenizer_settings()}
        other = [
            f"{name} {settings.get(name)}, here is {here[name]}" for name in here if settings.get(name) != here[name]
        ]
        if other:
            warnings.warn(
                f"{folder} was trained with {'; '.join(other)}: some comments may be cut into other morphemes",
                stacklevel=2,
            )
        model = keras.models.load_model(folder / "model.keras", compile=False)
        return cls(model, read_json(folder / "vocabulary.json"))


@register
class BertClassifier(TextClassifier):
    """A fine-tuned BERT with its tokenizer.

    Parameters
    ----------
    model : keras.Model
        From `utils.bert.build_bert_classifier`.
    tokenizer : BertTokenizer
        From `utils.bert.load_tokenizer`.
    max_length : int
        Where a comment is cut, in tokens.
    source : mapping, optional
        Which checkpoint it started from, as `utils.checkpoints.checkpoint_source` says; kept in `classifier.json`.
    about : str, optional
        What it was trained on and how well it did, one sentence for its card; kept in `classifier.json`.
    class_names : sequence of str, length K, optional
        By default "0", "1", ...
    """

    kind = "bert"

    def __init__(
        self,
        model: "keras.Model",
        tokenizer: "BertTokenizer",
        max_length: int,
        *,
        source: Mapping[str, Any] | None = None,
        about: str | None = None,
        class_names: Sequence[str] | None = None,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.source = source
        self.about = about
        self.num_classes = int(model.output_shape[1])
        self.class_names = check_class_names(class_names, self.num_classes)

    def predict_proba(self, texts: Iterable[str]) -> NDArray[np.float32]:
        """Return float32 probabilities (N, K) of raw comments."""
        from utils.bert import CommentBatches

        cleaned = [clean_comment(text) for text in check_texts(texts)]
        if not cleaned:
            return np.empty((0, self.num_classes), dtype=np.float32)
        batches = CommentBatches(cleaned, tokenizer=self.tokenizer, max_length=self.max_length, batch_size=64)
        return np.asarray(self.model.predict(batches, verbose=0), dtype=np.float32)[batches.inverse]

    def settings(self) -> dict[str, Any]:
        """Return the checkpoint it started from, where comments are cut, the head, and KerasHub's architecture."""
        from utils.bert import BACKBONE

        backbone = self.model.get_layer(BACKBONE)
        names = ("vocabulary_size", "num_layers", "num_heads", "hidden_dim", "intermediate_dim", "max_sequence_length")
        return {
            "source": self.source,
            "about": self.about,
            "max_length": self.max_length,
            "num_classes": self.num_classes,
            "dropout": self.model.get_layer("dropout").rate,
            "pooling": "mean" if "mean" in {layer.name for layer in self.model.layers} else "cls",
            "do_lower_case": self.tokenizer.do_lower_case,
            "strip_accents": self.tokenizer.strip_accents,
            "hidden_act": getattr(backbone, "hidden_act", KERAS_HUB_GELU),
            "backbone": {name: getattr(backbone, name) for name in names},
        }

    def card(self) -> str:
        """Return the model's card in Markdown."""
        settings, source = self.settings(), self.source or {}
        base = "not recorded"
        if "hub" in source:
            base = f"{source['hub']}, commit {source['commit']}"
        elif source:
            hashes = ", ".join(f"{name} has SHA-256 {digest}" for name, digest in source["weights"].items())
            base = f"{source['folder']} ({hashes})"
        classes = ", ".join(f"{code} = {name}" for code, name in enumerate(self.class_names))
        stated = {**settings, **settings["backbone"], "base": base, "classes": classes}
        return BERT_CARD.format(**stated | {"about": self.about or "not recorded"})

    def write_files(self, folder: Path) -> None:
        """Write `vocab.txt`, `weights.safetensors` and the card, `README.md`."""
        (folder / "README.md").write_text(self.card(), encoding="utf-8")
        ids = self.tokenizer.get_vocab()
        tokens = sorted(ids, key=lambda token: ids[token])
        (folder / "vocab.txt").write_text("".join(f"{token}\n" for token in tokens), encoding="utf-8")
        weights = {f"{number:04d} {weight.path}": weight for number, weight in enumerate(self.model.weights)}
        save_file(
            {name: np.ascontiguousarray(weight) for name, weight in weights.items()}, folder / "weights.safetensors"
        )

    @classmethod
    def read_files(cls, folder: Path, settings: Mapping[str, Any]) -> Self:
        """Rebuild the classifier from its weights and vocabulary."""
        from keras_hub.models import BertBackbone

        from utils.bert import BACKBONE, build_bert_classifier, make_tokenizer, use_gelu

        backbone = BertBackbone(**settings["backbone"], name=BACKBONE)
        use_gelu(backbone, settings.get("hidden_act", KERAS_HUB_GELU))  # folders saved by earlier versions have none
        head = {name: settings[name] for name in ("num_classes", "dropout", "pooling")}
        model = build_bert_classifier(backbone, **head)
        tensors = load_file(folder / "weights.safetensors")
        model.set_weights([tensors[name] for name in sorted(tensors)])
        tokenizer = make_tokenizer(
            folder / "vocab.txt",
            do_lower_case=settings["do_lower_case"],
            strip_accents=settings["strip_accents"],
            max_length=settings["backbone"]["max_sequence_length"],
        )
        kept = {name: settings.get(name) for name in ("source", "about")}  # folders saved by earlier versions have none
        return cls(model, tokenizer, settings["max_length"], **kept)
