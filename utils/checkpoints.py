"""BERT checkpoints: where one lies, where it came from, and its weights as KerasHub reads them (체크포인트).

A checkpoint is data alone: no code that lies beside the weights is run, and nothing is unpickled but tensors.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from utils.files import ROOT, repository_path, sha256_of, shown

CONFIG, VOCABULARY, TOKENIZER_CONFIG = "config.json", "vocab.txt", "tokenizer_config.json"
SAFETENSORS, SAFETENSORS_INDEX, TORCH_WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
)
SIZES = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "max_position_embeddings",
)
WORDS = "embeddings.word_embeddings.weight"
POOLER, POOLER_BIAS = "pooler.dense.weight", "pooler.dense.bias"
MINI = ROOT / "data" / "checkpoints" / "mini"
GELU_FORMULAS = {  # Transformers' names of it
    "gelu": "erf",
    "gelu_python": "erf",
    "gelu_pytorch_tanh": "tanh",
    "gelu_python_tanh": "tanh",
    "gelu_accurate": "tanh",
    "gelu_fast": "tanh",
    "gelu_new": "tanh",
}
SEGMENTS = 2  # KerasHub knows no other number


class CheckpointError(ValueError):
    """A checkpoint cannot be found or read; the message says what is missing and what to do."""


def find_checkpoint(checkpoint: str | Path, *, run_dir: str | Path = "runs/sample") -> Path:
    """Return the folder of a checkpoint, downloading it from the Hugging Face hub if it is a hub name.

    Parameters
    ----------
    checkpoint : str or Path
        ``"from-03"``, the BERT that notebook 03 pretrained in `run_dir`; ``"mini"``, the one in
        ``data/checkpoints/mini``; a folder in Hugging Face format (a relative path starts at the repository
        root); or a hub name such as ``"beomi/kcbert-base"``. ``"beomi/kcbert-base@<commit>"`` asks for one commit.
    run_dir : str or Path
        The run folder that ``"from-03"`` means.

    Returns
    -------
    Path
        A local folder. For a hub name its last part is the commit; `checkpoint_source` records it.

    Raises
    ------
    CheckpointError
        If there is no such folder, the hub cannot be reached, or a file is missing.
    """
    places = {"from-03": repository_path(run_dir) / "models" / "bert-tiny", "mini": MINI}
    folder = places.get(str(checkpoint)) or repository_path(checkpoint)
    if not folder.is_dir():
        if str(checkpoint) in places:
            first = "run notebook 03" if checkpoint == "from-03" else 'use "from-03"'
            raise CheckpointError(
                f'checkpoint "{checkpoint}" is not in {shown(folder)}: {first}, or give a hub name such as '
                "beomi/kcbert-base or the path of a folder."
            )
        folder = _download(str(checkpoint))
    missing = [name for name in (CONFIG, VOCABULARY, TOKENIZER_CONFIG) if not (folder / name).is_file()]
    if missing:
        raise CheckpointError(
            f"checkpoint {checkpoint} has no {' and no '.join(missing)}: a folder in Hugging Face format with "
            f"{CONFIG}, {SAFETENSORS}, {VOCABULARY} and {TOKENIZER_CONFIG} is needed."
        )
    return folder


def _download(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    repository, _, revision = name.partition("@")
    files = [CONFIG, VOCABULARY, TOKENIZER_CONFIG, SAFETENSORS_INDEX]
    try:
        if repository.count("/") != 1:
            raise HFValidationError(repository)
        folder = Path(snapshot_download(repository, revision=revision or None, allow_patterns=files))
        weights = _shard_names(folder) if (folder / SAFETENSORS_INDEX).is_file() else [SAFETENSORS]
        snapshot_download(repository, revision=folder.name, allow_patterns=[*files, *weights])
        if weights == [SAFETENSORS] and not (folder / SAFETENSORS).is_file():
            snapshot_download(repository, revision=folder.name, allow_patterns=[*files, TORCH_WEIGHTS])
    except CheckpointError:
        raise
    except HFValidationError as error:
        raise CheckpointError(
            f"checkpoint {name} is neither a folder nor a hub name such as beomi/kcbert-base."
        ) from error
    except Exception as error:  # the hub client raises many kinds: offline, not found, gated, timeouts
        missing = _not_cached(repository, revision or "main")
        place = f"data/checkpoints/{repository.partition('/')[2]}"
        raise CheckpointError(
            f"checkpoint {name} could not be fetched from the Hugging Face hub ({type(error).__name__}). "
            + (f"Missing on this computer: {', '.join(missing)}. " if missing else "")
            + f"Check the name and the network, or put {CONFIG}, {SAFETENSORS}, {VOCABULARY} and {TOKENIZER_CONFIG} "
            f'into a folder such as {place} and use its path: CHECKPOINT = "{place}".'
        ) from error
    return folder


def _not_cached(repository: str, revision: str) -> list[str]:
    from huggingface_hub import try_to_load_from_cache

    names = (CONFIG, SAFETENSORS, VOCABULARY, TOKENIZER_CONFIG)
    return [name for name in names if not isinstance(try_to_load_from_cache(repository, name, revision=revision), str)]


def checkpoint_source(folder: Path) -> dict[str, Any]:
    """Return which checkpoint a folder holds, for the record of a model that started from it.

    Parameters
    ----------
    folder : Path
        From `find_checkpoint`.

    Returns
    -------
    dict
        ``{"hub": name, "commit": commit}`` of a download; of any other folder
        ``{"folder": path, "weights": {file name: SHA-256}}``, where a path outside the repository is its last part.

    Raises
    ------
    CheckpointError
        If the folder has no weights.
    """
    hub_name = _hub_name(folder)
    if hub_name is not None:
        return {"hub": hub_name, "commit": folder.name}
    place = shown(folder) if folder.is_relative_to(ROOT) else folder.name
    return {"folder": place, "weights": {name: sha256_of(folder / name) for name in _weight_files(folder)}}


def checkpoint_name(folder: Path) -> str:
    """Return what a message calls the checkpoint in `folder`: its name on the hub, or the folder's."""
    return _hub_name(folder) or folder.name


def checkpoint_error(folder: Path, trouble: str) -> CheckpointError:
    """Return the error that says which checkpoint is in trouble and what the trouble is."""
    return CheckpointError(f"checkpoint {checkpoint_name(folder)}: {trouble}")


def _hub_name(folder: Path) -> str | None:
    """Return the name on the hub of a folder in the hub's cache, models--<owner>--<name>/snapshots/<commit>."""
    kind, *names = folder.parent.parent.name.split("--")
    return "/".join(names) if kind == "models" and len(names) == 2 and folder.parent.name == "snapshots" else None


def read_config(folder: Path) -> dict[str, Any]:
    """Return config.json of a BERT checkpoint.

    Raises
    ------
    CheckpointError
        If it is not the config of a BERT that KerasHub can build.
    """
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except ValueError as error:
        raise checkpoint_error(folder, f"{CONFIG} is not JSON ({error}), fetch it again.") from error
    if config.get("model_type") != "bert":
        raise checkpoint_error(folder, f"it is a {config.get('model_type')!r} model, a 'bert' is needed.")
    for size in SIZES:
        if not isinstance(config.get(size), int) or config[size] < 1:
            raise checkpoint_error(
                folder, f"{CONFIG} says {size} is {config.get(size)!r}, it must be a whole number of at least 1."
            )
    if config["hidden_size"] % config["num_attention_heads"]:
        raise checkpoint_error(
            folder,
            f"{CONFIG} says hidden_size is {config['hidden_size']}, "
            f"which {config['num_attention_heads']} attention heads cannot share evenly.",
        )
    if config.setdefault("hidden_act", "gelu") not in GELU_FORMULAS:
        raise checkpoint_error(
            folder,
            f"{CONFIG} says hidden_act is {config['hidden_act']!r}, it must be one of {', '.join(GELU_FORMULAS)}.",
        )
    return config


@contextmanager
def keras_hub_folder(folder: Path, config: Mapping[str, Any]) -> Iterator[Path]:
    """Yield a folder that KerasHub can read: `folder` itself, or a temporary copy with what it lacks.

    A checkpoint that has only PyTorch's weights is converted, one without a pooler gets a random one and says so.

    Parameters
    ----------
    folder : Path
        From `find_checkpoint`.
    config : mapping
        From `read_config`.

    Raises
    ------
    CheckpointError
        If weights are missing, damaged, or of another shape than `config` says.
    """
    from safetensors.numpy import load_file, save_file

    files = _weight_files(folder)
    if files == [TORCH_WEIGHTS]:
        tensors = _convert_torch_weights(folder)
        names = _match_names(folder, config, {name: tensor.shape for name, tensor in tensors.items()})
    else:
        names = _match_names(folder, config, _safetensors_shapes(folder, files))
        if POOLER in names:
            yield folder
            return
        tensors = {name: tensor for file in files for name, tensor in load_file(folder / file).items()}
    weights = {f"bert.{ours}": tensors[theirs] for ours, theirs in names.items()}
    if POOLER not in names:
        print(f"Checkpoint {checkpoint_name(folder)} has no pooler: its sentence vector starts from random weights.")
        weights |= _random_pooler(config["hidden_size"])
    with tempfile.TemporaryDirectory() as temporary:
        for name in (CONFIG, VOCABULARY, TOKENIZER_CONFIG):
            shutil.copyfile(folder / name, Path(temporary, name))
        save_file(weights, Path(temporary, SAFETENSORS), metadata={"format": "pt"})
        yield Path(temporary)


def _random_pooler(size: int) -> dict[str, NDArray[np.float32]]:
    kernel = keras.ops.convert_to_numpy(keras.random.truncated_normal((size, size), stddev=0.02))
    return {f"bert.{POOLER}": kernel, f"bert.{POOLER_BIAS}": np.zeros(size, np.float32)}


def _weight_files(folder: Path) -> list[str]:
    """Return the names of the files that hold the weights, the one KerasHub prefers where there are several."""
    if (folder / SAFETENSORS_INDEX).is_file():
        shards = _shard_names(folder)
        missing = [shard for shard in shards if not (folder / shard).is_file()]
        if missing:
            raise checkpoint_error(
                folder,
                f"it has no {' and no '.join(missing)}, though {SAFETENSORS_INDEX} names it: put it beside the others.",
            )
        return shards
    for name in (SAFETENSORS, TORCH_WEIGHTS):
        if (folder / name).is_file():
            return [name]
    raise checkpoint_error(
        folder,
        f"it has no weights, {SAFETENSORS} is missing: put it (or its shards with "
        f"{SAFETENSORS_INDEX}, or {TORCH_WEIGHTS}) beside {CONFIG}.",
    )


def _weight_map(folder: Path) -> dict[str, str]:
    """Return which shard holds which tensor."""
    try:
        shards = json.loads((folder / SAFETENSORS_INDEX).read_text(encoding="utf-8"))["weight_map"]
        if all(Path(shard).name == shard for shard in shards.values()):
            return shards
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    raise checkpoint_error(
        folder, f"{SAFETENSORS_INDEX} does not say which file beside it holds which tensor, fetch it again."
    )


def _shard_names(folder: Path) -> list[str]:
    return sorted(set(_weight_map(folder).values()))


def _safetensors_shapes(folder: Path, files: list[str]) -> dict[str, tuple[int, ...]]:
    """Return the shape of every stored tensor, from the files' heads."""
    from safetensors import SafetensorError, safe_open

    shapes: dict[str, tuple[int, ...]] = {}
    for file in files:
        try:
            with safe_open(folder / file, framework="np") as stored:
                held = {name: tuple(stored.get_slice(name).get_shape()) for name in stored.keys()}
        except SafetensorError as error:
            raise checkpoint_error(
                folder, f"{file} is cut short or damaged, or only Git LFS's pointer to it ({error}): fetch it again."
            ) from error
        if files != [SAFETENSORS]:
            promised = {name for name, shard in _weight_map(folder).items() if shard == file}
            if promised - set(held):
                raise checkpoint_error(
                    folder,
                    f"{file} has no {min(promised - set(held))}, though {SAFETENSORS_INDEX} says so: fetch both again.",
                )
        shapes |= held
    return shapes


def _convert_torch_weights(folder: Path) -> dict[str, NDArray[np.float32]]:
    try:
        import torch
    except ImportError as error:
        raise checkpoint_error(
            folder,
            f"it has only {TORCH_WEIGHTS}, which KerasHub cannot read: install PyTorch "
            f"(pip install torch==2.13.0) and it is converted, or use a checkpoint with {SAFETENSORS}.",
        ) from error
    try:
        weights = torch.load(folder / TORCH_WEIGHTS, map_location="cpu", weights_only=True)
        return {name: np.ascontiguousarray(tensor.float().numpy()) for name, tensor in weights.items()}
    except Exception as error:  # torch raises many kinds: not a pickle, cut short, more than tensors in it
        raise checkpoint_error(
            folder,
            f"{TORCH_WEIGHTS} is damaged or holds more than tensors "
            f"({type(error).__name__}), and nothing else is unpickled: fetch it again, or one with {SAFETENSORS}.",
        ) from error


def _match_names(folder: Path, config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> dict[str, str]:
    """Return for each of the encoder's tensors the name it is stored under, the pooler's only if it is stored."""
    prefixes = [name.removesuffix(WORDS) for name in shapes if name.endswith(WORDS)]
    if not prefixes:
        raise checkpoint_error(folder, f"there is no {WORDS}, these are not the weights of a BERT.")
    prefix, names = min(prefixes, key=len), {}
    wanted = _encoder_shapes(config)
    if prefix + POOLER not in shapes:
        wanted = {name: shape for name, shape in wanted.items() if name not in (POOLER, POOLER_BIAS)}
    extra = f"{prefix}encoder.layer.{config['num_hidden_layers']}."
    if any(name.startswith(extra) for name in shapes):
        raise checkpoint_error(
            folder, f"there are more layers than the {config['num_hidden_layers']} of {CONFIG}, fetch both again."
        )
    for name, shape in wanted.items():
        older = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
        stored = prefix + (name if prefix + name in shapes else older)
        if stored not in shapes:
            raise checkpoint_error(
                folder,
                f"there is no {prefix}{name}, its weights are not whole, "
                f"or not of the {config['num_hidden_layers']} layers that {CONFIG} says.",
            )
        if shapes[stored] != shape:
            raise checkpoint_error(
                folder,
                f"{stored} has shape {shapes[stored]}, but by {CONFIG} it must be {shape}: "
                "the two are not of one model, fetch both again.",
            )
        names[name] = stored
    return names


def _encoder_shapes(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Return the tensors of a BERT encoder and their shapes by the names of PyTorch Transformers, without prefix."""
    width, inner = config["hidden_size"], config["intermediate_size"]
    shapes: dict[str, tuple[int, ...]] = {
        WORDS: (config["vocab_size"], width),
        "embeddings.position_embeddings.weight": (config["max_position_embeddings"], width),
        "embeddings.token_type_embeddings.weight": (SEGMENTS, width),
    }
    dense = {"pooler.dense": (width, width)}
    norms = ["embeddings.LayerNorm"]
    for number in range(config["num_hidden_layers"]):
        layer = f"encoder.layer.{number}"
        attention = ("self.query", "self.key", "self.value", "output.dense")
        dense |= {f"{layer}.attention.{part}": (width, width) for part in attention}
        dense |= {f"{layer}.intermediate.dense": (inner, width), f"{layer}.output.dense": (width, inner)}
        norms += [f"{layer}.attention.output.LayerNorm", f"{layer}.output.LayerNorm"]
    for name, (outputs, inputs) in dense.items():
        shapes |= {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}
    for name in norms:
        shapes |= {f"{name}.weight": (width,), f"{name}.bias": (width,)}
    return shapes
