import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from safetensors.numpy import save_file

import benchmarks  # noqa: F401  # loads Triton before anything loads TensorFlow
from utils.cost import KCBERT

PARAMETERS = 'DATASET = "sample"\nCOLUMNS = {}\nRUN_DIR = "runs/sample"\nSEED = 0\nRATE = 0.5\nNAMES = ["a"]\n'


@pytest.fixture
def toy_notebook(tmp_path: Path) -> Callable[..., Path]:
    """Writes a notebook of one section with one working cell and returns its path."""

    def write(body: str = "print(SEED)", *, parameters: str | None = PARAMETERS, name: str = "toy") -> Path:
        cells = [new_markdown_cell("# Toy", id="title")]
        if parameters is not None:
            cells.append(new_code_cell(parameters, id="parameters", metadata={"tags": ["parameters"]}))
        cells += [new_markdown_cell("## 1. Work (일)", id="work"), new_code_cell(body, id="the-cell")]
        path = tmp_path / f"{name}.ipynb"
        nbformat.write(new_notebook(cells=cells), path)
        return path

    return write


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    """Dask with two worker processes of one thread each."""
    from distributed import Client

    with Client(n_workers=2, threads_per_worker=1, dashboard_address=None) as client:
        yield client


@pytest.fixture
def killing_a_worker(client: Any) -> Callable[[Path], AbstractContextManager[dict[str, int]]]:
    """Makes a context in which a busy worker is killed once three files of the coming folder are written."""

    @contextmanager
    def killing(target: Path) -> Iterator[dict[str, int]]:
        workers, killed = client.run(os.getpid), {}

        def kill() -> None:
            while len(done := list(target.parent.glob(f".{target.name}.*/part-*.parquet"))) < 3:
                time.sleep(0.002)
            busy = next(worker for worker, tasks in client.processing().items() if tasks)
            os.kill(workers[busy], signal.SIGKILL)
            killed.update(process=workers[busy], done=len(done))

        killer = threading.Thread(target=kill, daemon=True)
        killer.start()
        yield killed
        killer.join(timeout=10)
        client.wait_for_workers(2, timeout=300)
        assert killed["process"] not in client.run(os.getpid).values()

    return killing


# The keys and values of KcBERT-base's config.json.
KCBERT_CONFIG = {
    "max_position_embeddings": 300,
    "hidden_dropout_prob": 0.1,
    "pooler_size_per_head": 128,
    "hidden_act": "gelu",
    "initializer_range": 0.02,
    "num_hidden_layers": 12,
    "pooler_num_attention_heads": 12,
    "type_vocab_size": 2,
    "vocab_size": 30000,
    "hidden_size": 768,
    "attention_probs_dropout_prob": 0.1,
    "directionality": "bidi",
    "num_attention_heads": 12,
    "pooler_fc_size": 768,
    "pooler_type": "first_token_transform",
    "pooler_num_fc_layers": 3,
    "intermediate_size": 3072,
    "architectures": ["BertForMaskedLM"],
    "model_type": "bert",
}
REDUCED = {"num_hidden_layers": 2, "hidden_size": 48, "intermediate_size": 96, "vocab_size": 3000}


@pytest.fixture(scope="session")
def kcbert_shaped_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as beomi/kcbert-base is on the hub, with random weights at reduced width."""
    return write_kcbert_shaped(tmp_path_factory.mktemp("kcbert-shaped"), REDUCED)


@pytest.fixture(params=KCBERT)
def full_size_checkpoint(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A folder as beomi/kcbert-base or -large is on the hub, with random weights."""
    return write_kcbert_shaped(tmp_path, KCBERT[request.param])


def write_kcbert_shaped(folder: Path, sizes: dict[str, int]) -> Path:
    config = KCBERT_CONFIG | sizes
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer_config.json").write_text('{"do_lower_case": false, "model_max_length": 300}')
    (folder / "vocab.txt").write_text("\n".join(_vocabulary(config["vocab_size"])) + "\n", encoding="utf-8")
    save_file(_weights(config), folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def _vocabulary(size: int) -> list[str]:
    syllables = [chr(code) for code in range(0xAC00, 0xD7A4, 7)]
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"!?.,~ㅋㅎㅠㅜ", *syllables, *(f"##{s}" for s in syllables)]
    return (words + [f"[unused{number}]" for number in range(size - len(words))])[:size]


def _weights(config: dict) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    width, inner = config["hidden_size"], config["intermediate_size"]
    shapes = {
        "bert.embeddings.word_embeddings.weight": (config["vocab_size"], width),
        "bert.embeddings.position_embeddings.weight": (config["max_position_embeddings"], width),
        "bert.embeddings.token_type_embeddings.weight": (config["type_vocab_size"], width),
        "bert.pooler.dense.weight": (width, width),
        "cls.predictions.bias": (config["vocab_size"],),
        "cls.predictions.transform.dense.weight": (width, width),
    }
    norms = ["bert.embeddings.LayerNorm", "cls.predictions.transform.LayerNorm"]
    for number in range(config["num_hidden_layers"]):
        layer = f"bert.encoder.layer.{number}"
        for part in ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"):
            shapes[f"{layer}.{part}.weight"] = (width, width)
        shapes[f"{layer}.intermediate.dense.weight"] = (inner, width)
        shapes[f"{layer}.output.dense.weight"] = (width, inner)
        norms += [f"{layer}.attention.output.LayerNorm", f"{layer}.output.LayerNorm"]
    weights = {name: random.normal(0, 0.02, shape).astype(np.float32) for name, shape in shapes.items()}
    dense = [name for name in shapes if name.endswith(".weight") and "embeddings" not in name]
    weights |= {name.replace(".weight", ".bias"): np.zeros(shapes[name][0], np.float32) for name in dense}
    for norm in norms:
        weights |= {f"{norm}.weight": np.ones(width, np.float32), f"{norm}.bias": np.zeros(width, np.float32)}
    return weights
