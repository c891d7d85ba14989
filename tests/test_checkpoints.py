"""utils.checkpoints and utils.bert.load_backbone: every form of a checkpoint; PyTorch Transformers is the reference."""

import ast
import importlib.util
import json
import pickle
import shutil
import sys
from fnmatch import fnmatch
from pathlib import Path

import huggingface_hub
import nbformat
import numpy as np
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from safetensors.numpy import load_file, save_file

from utils import checkpoints
from utils.bert import CommentBatches, load_backbone, load_tokenizer
from utils.checkpoints import GELU_FORMULAS, CheckpointError, checkpoint_source, find_checkpoint
from utils.cost import KCBERT
from utils.files import ROOT, sha256_of

COMMIT = "0123456789abcdef0123456789abcdef01234567"
needs_torch = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="PyTorch is not installed (requirements-torch.txt)"
)
TEXTS = ["가 가", "각 갈 감 갑 가 각 갈", "", "가", "간 나 다 ㅋㅋ !", "가 나"]


@pytest.fixture
def checkpoint(kcbert_shaped_checkpoint, tmp_path):
    """A copy that a test may damage."""
    return Path(shutil.copytree(kcbert_shaped_checkpoint, tmp_path / "checkpoint"))


def change_config(folder: Path, **changes) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


def change_weights(folder: Path, change) -> None:
    """Write model.safetensors anew with `change` of its tensors."""
    tensors = change(load_file(folder / "model.safetensors"))
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def shard(folder: Path) -> None:
    """Put the tensors of model.safetensors into two files and an index, as PyTorch Transformers does."""
    tensors = load_file(folder / "model.safetensors")
    files = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    where = {name: files[place % 2] for place, name in enumerate(sorted(tensors))}
    for file in files:
        save_file({name: tensors[name] for name in tensors if where[name] == file}, folder / file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))
    (folder / "model.safetensors").unlink()


def only_pytorch_weights(folder: Path) -> None:
    """Put pytorch_model.bin in place of model.safetensors."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed (requirements-torch.txt)")
    tensors = load_file(folder / "model.safetensors")
    torch.save({name: torch.tensor(tensor) for name, tensor in tensors.items()}, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def without_prefix(tensors):
    return {name.removeprefix("bert."): tensor for name, tensor in tensors.items()}


def with_old_norm_names(tensors):
    return {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): tensor
        for name, tensor in tensors.items()
    }


def without_pooler(tensors):
    return {name: tensor for name, tensor in tensors.items() if "pooler" not in name}


def as_stored(tensors):
    return tensors


def weights_by_path(backbone) -> dict[str, np.ndarray]:
    return {weight.path: np.asarray(weight) for weight in backbone.weights}


def told_apart(tensors):
    """Weights of which no two are alike, so that one in the wrong place shows."""
    random = np.random.default_rng(1)
    return {name: (tensor + random.normal(0, 0.1, tensor.shape)).astype(np.float32) for name, tensor in tensors.items()}


# The forms of a folder


@pytest.mark.parametrize("pooler", [as_stored, without_pooler], ids=["with pooler", "without pooler"])
@pytest.mark.parametrize("norms", [as_stored, with_old_norm_names], ids=["weight/bias", "gamma/beta"])
@pytest.mark.parametrize("prefix", [as_stored, without_prefix], ids=["bert.", "no prefix"])
@pytest.mark.parametrize("put", [as_stored, shard, only_pytorch_weights], ids=["one file", "shards", "PyTorch"])
def test_every_form_of_a_checkpoint_gives_the_same_weights(checkpoint, capsys, put, prefix, norms, pooler):
    change_weights(checkpoint, told_apart)
    expected = weights_by_path(load_backbone(checkpoint))
    change_weights(checkpoint, lambda tensors: pooler(norms(prefix(tensors))))
    put(checkpoint)
    before = sorted(checkpoint.iterdir())
    capsys.readouterr()
    loaded = weights_by_path(load_backbone(checkpoint))
    said = capsys.readouterr().out
    assert ("checkpoint has no pooler" in said) == (pooler is without_pooler)
    compared = [name for name in expected if pooler is as_stored or "pooled" not in name]
    assert len(compared) == (39 if pooler is as_stored else 37)
    for name in compared:
        np.testing.assert_array_equal(loaded[name], expected[name], err_msg=name)
    assert sorted(checkpoint.iterdir()) == before


def test_a_missing_pooler_starts_from_random_weights_of_the_usual_size(checkpoint):
    change_weights(checkpoint, without_pooler)
    pooler = load_backbone(checkpoint).pooled_dense
    assert 0.01 < np.std(pooler.kernel) < 0.03
    assert not np.any(pooler.bias)


@pytest.mark.parametrize("pooler", [as_stored, without_pooler], ids=["with pooler", "without pooler"])
def test_weights_stored_in_16_bits_are_read_as_32(checkpoint, pooler):
    halved = {}

    def halve(tensors):
        halved.update({name: tensor.astype(np.float16) for name, tensor in pooler(told_apart(tensors)).items()})
        return halved

    change_weights(checkpoint, halve)
    backbone = load_backbone(checkpoint)
    assert {weight.dtype for weight in backbone.weights} == {"float32"}
    words = halved["bert.embeddings.word_embeddings.weight"]
    np.testing.assert_array_equal(backbone.token_embedding.embeddings, words.astype(np.float32))


@needs_torch
@pytest.mark.parametrize("pooler", [as_stored, without_pooler], ids=["with pooler", "without pooler"])
def test_weights_stored_as_bfloat16_are_read_as_32_bits(checkpoint, pooler):
    import safetensors.torch
    import torch

    tensors = pooler(load_file(checkpoint / "model.safetensors"))
    stored = {name: torch.tensor(tensor).bfloat16() for name, tensor in tensors.items()}
    safetensors.torch.save_file(stored, checkpoint / "model.safetensors")
    words = stored["bert.embeddings.word_embeddings.weight"].float().numpy()
    np.testing.assert_array_equal(load_backbone(checkpoint).token_embedding.embeddings, words)


def test_without_pytorch_a_folder_with_only_its_weights_says_what_to_install(checkpoint, monkeypatch):
    (checkpoint / "model.safetensors").rename(checkpoint / "pytorch_model.bin")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(CheckpointError, match=r"only pytorch_model.bin.*pip install torch"):
        load_backbone(checkpoint)


# Damaged and mismatched folders


@pytest.mark.parametrize("name", ["config.json", "vocab.txt", "tokenizer_config.json", "model.safetensors"])
def test_a_missing_file_is_named(checkpoint, name):
    (checkpoint / name).unlink()
    with pytest.raises(CheckpointError, match=name):
        load_backbone(checkpoint)


def test_a_missing_shard_is_named(checkpoint):
    shard(checkpoint)
    (checkpoint / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"no model-00002-of-00002\.safetensors, though .*index"):
        load_backbone(checkpoint)


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-100],
        lambda content: b"",
        lambda content: b"version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 4\n",
    ],
    ids=["cut short", "empty", "Git LFS pointer"],
)
@pytest.mark.parametrize("file", ["model.safetensors", "model-00002-of-00002.safetensors"])
def test_damaged_safetensors_are_named(checkpoint, damage, file):
    if file != "model.safetensors":
        shard(checkpoint)
    (checkpoint / file).write_bytes(damage((checkpoint / file).read_bytes()))
    with pytest.raises(CheckpointError, match=rf"checkpoint: {file} is cut short or damaged.*fetch it again"):
        load_backbone(checkpoint)


@pytest.mark.parametrize(
    "index",
    ["{", "{}", '{"weight_map": ["a"]}', '{"weight_map": {"a": 1}}', '{"weight_map": {"a": "../model.safetensors"}}'],
)
def test_an_index_that_does_not_name_files_beside_it_is_refused(checkpoint, index):
    (checkpoint / "model.safetensors.index.json").write_text(index)
    with pytest.raises(CheckpointError, match=r"index\.json does not say which file beside it"):
        load_backbone(checkpoint)


def test_an_index_that_looks_for_a_tensor_in_the_wrong_shard_is_refused(checkpoint):
    shard(checkpoint)
    index = checkpoint / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    name, file = "bert.pooler.dense.bias", content["weight_map"]["bert.pooler.dense.bias"]
    content["weight_map"][name] = file.replace("1-of", "X-of").replace("2-of", "1-of").replace("X-of", "2-of")
    index.write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=r"has no bert\.pooler\.dense\.bias, though"):
        load_backbone(checkpoint)


@needs_torch
def test_damaged_pytorch_weights_are_named(checkpoint):
    only_pytorch_weights(checkpoint)
    stored = checkpoint / "pytorch_model.bin"
    stored.write_bytes(stored.read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin is damaged"):
        load_backbone(checkpoint)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_size": 60}, r"word_embeddings\.weight has shape \(3000, 48\), but by config\.json.*\(3000, 60\)"),
        ({"vocab_size": 30000}, r"word_embeddings\.weight has shape \(3000, 48\).*\(30000, 48\)"),
        ({"max_position_embeddings": 512}, r"position_embeddings\.weight has shape \(300, 48\).*\(512, 48\)"),
        ({"intermediate_size": 192}, r"intermediate\.dense\.weight has shape \(96, 48\).*\(192, 48\)"),
        ({"num_hidden_layers": 3}, r"no bert\.encoder\.layer\.2\.attention.*not of the 3 layers"),
        ({"num_hidden_layers": 1}, "more layers than the 1 of"),
        ({"num_attention_heads": 7}, "hidden_size is 48, which 7 attention heads"),
        ({"num_attention_heads": None}, "num_attention_heads is None"),
        ({"hidden_act": "relu"}, "hidden_act is 'relu', it must be one of gelu, gelu_python"),
        ({"hidden_act": "gelu_10"}, "hidden_act is 'gelu_10'"),
        ({"model_type": "electra"}, "'electra'"),
    ],
)
def test_a_config_that_does_not_fit_the_weights_is_refused(checkpoint, changes, message):
    change_config(checkpoint, **changes)
    with pytest.raises(CheckpointError, match=message):
        load_backbone(checkpoint)


def test_a_config_that_is_not_json_is_refused(checkpoint):
    (checkpoint / "config.json").write_text("<html>")
    with pytest.raises(CheckpointError, match=r"config\.json is not JSON"):
        load_backbone(checkpoint)


def test_weights_of_another_kind_of_model_are_refused(checkpoint):
    change_weights(checkpoint, lambda tensors: {"lstm.weight": np.zeros((2, 2), np.float32)})
    with pytest.raises(CheckpointError, match="not the weights of a BERT"):
        load_backbone(checkpoint)


def test_a_tensor_that_is_missing_is_named(checkpoint):
    change_weights(checkpoint, lambda tensors: {n: t for n, t in tensors.items() if n != "bert.pooler.dense.bias"})
    with pytest.raises(CheckpointError, match=r"no bert\.pooler\.dense\.bias"):
        load_backbone(checkpoint)


# Names


def test_from_03_is_the_bert_that_notebook_03_pretrained_in_the_run(checkpoint, tmp_path):
    place = tmp_path / "run" / "models" / "bert-tiny"
    shutil.copytree(checkpoint, place)
    assert find_checkpoint("from-03", run_dir=tmp_path / "run") == place
    with pytest.raises(CheckpointError, match=r'"from-03" is not in .*other.models.bert-tiny: run notebook 03'):
        find_checkpoint("from-03", run_dir=tmp_path / "other")


def test_from_03_and_mini_are_names_that_load_backbone_takes(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "ROOT", tmp_path)
    monkeypatch.setattr(checkpoints, "MINI", tmp_path / "data" / "checkpoints" / "mini")
    monkeypatch.setattr(checkpoints, "repository_path", lambda path: tmp_path / path)
    with pytest.raises(CheckpointError, match=r'"mini" is not in .*mini: use "from-03", or give a hub name'):
        load_backbone("mini")
    for name, place in {"mini": "data/checkpoints/mini", "from-03": "runs/sample/models/bert-tiny"}.items():
        shutil.copytree(checkpoint, tmp_path / place)
        assert load_backbone(name).hidden_dim == 48
        assert len(load_tokenizer(name)) > 2000


def test_something_that_is_neither_folder_nor_hub_name_is_refused():
    with pytest.raises(CheckpointError, match="neither a folder nor a hub name"):
        find_checkpoint("no/such/folder")


# The hub


@pytest.fixture
def hub(checkpoint, tmp_path, monkeypatch):
    """A hub whose only repository, beomi/kcbert-base, is `checkpoint`; it notes what it is asked for."""
    cache = tmp_path / "cache" / "models--beomi--kcbert-base" / "snapshots"
    asked = []

    def fetch(repository, *, revision, allow_patterns):
        asked.append((repository, revision))
        snapshot = cache / COMMIT
        snapshot.mkdir(parents=True, exist_ok=True)
        for path in checkpoint.iterdir():
            if any(fnmatch(path.name, pattern) for pattern in allow_patterns):
                shutil.copyfile(path, snapshot / path.name)
        return str(snapshot)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    return asked


@pytest.mark.parametrize("put", [as_stored, shard, only_pytorch_weights], ids=["one file", "shards", "PyTorch"])
def test_a_hub_name_fetches_the_weights_it_needs_however_they_are_stored(checkpoint, hub, put):
    expected = weights_by_path(load_backbone(checkpoint))
    put(checkpoint)
    (checkpoint / "tf_model.h5").write_bytes(b"not needed")
    folder = find_checkpoint("beomi/kcbert-base")
    assert {path.name for path in folder.iterdir()} == {path.name for path in checkpoint.iterdir()} - {"tf_model.h5"}
    loaded = weights_by_path(load_backbone("beomi/kcbert-base"))
    assert all(np.array_equal(loaded[name], expected[name]) for name in expected)


@pytest.mark.parametrize(
    ("name", "revision"),
    [("beomi/kcbert-base", None), ("beomi/kcbert-base@v1", "v1"), (f"beomi/kcbert-base@{COMMIT}", COMMIT)],
)
def test_every_file_of_a_hub_name_is_of_one_commit(hub, name, revision):
    assert find_checkpoint(name).name == COMMIT
    assert hub[0] == ("beomi/kcbert-base", revision)
    assert set(hub[1:]) == {("beomi/kcbert-base", COMMIT)}


def test_a_message_about_a_download_names_it_as_the_hub_does(checkpoint, hub):
    change_config(checkpoint, model_type="electra")
    with pytest.raises(CheckpointError, match="checkpoint beomi/kcbert-base: it is a 'electra'"):
        load_backbone("beomi/kcbert-base")


@pytest.fixture
def offline_cache(tmp_path, monkeypatch):
    """The real client of the hub with no network and an empty cache."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub" / "models--beomi--kcbert-base"


def test_without_network_the_missing_files_and_their_place_are_named(offline_cache):
    with pytest.raises(CheckpointError) as caught:
        find_checkpoint("beomi/kcbert-base")
    message = str(caught.value)
    assert "\n" not in message
    assert "Missing on this computer: config.json, model.safetensors, vocab.txt, tokenizer_config.json." in message
    assert 'CHECKPOINT = "data/checkpoints/kcbert-base"' in message


def test_without_network_the_files_may_be_put_where_the_message_says(offline_cache, checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "repository_path", lambda path: tmp_path / path)
    shutil.copytree(checkpoint, tmp_path / "data" / "checkpoints" / "kcbert-base")
    assert load_backbone("data/checkpoints/kcbert-base").hidden_dim == 48


@pytest.mark.parametrize("name", ["beomi/kcbert-base", f"beomi/kcbert-base@{COMMIT}"])
def test_without_network_what_was_downloaded_before_is_used(offline_cache, checkpoint, name):
    shutil.copytree(checkpoint, offline_cache / "snapshots" / COMMIT)
    (offline_cache / "refs").mkdir()
    (offline_cache / "refs" / "main").write_text(COMMIT)
    assert find_checkpoint(name) == offline_cache / "snapshots" / COMMIT
    assert load_backbone(name).hidden_dim == 48


# What a model records


def test_a_download_is_recorded_by_name_and_commit(hub):
    source = checkpoint_source(find_checkpoint("beomi/kcbert-base"))
    assert source == {"hub": "beomi/kcbert-base", "commit": COMMIT}


def test_a_folder_is_recorded_by_name_and_by_the_hash_of_its_weights(checkpoint):
    weights = {"model.safetensors": sha256_of(checkpoint / "model.safetensors")}
    assert checkpoint_source(checkpoint) == {"folder": "checkpoint", "weights": weights}
    shard(checkpoint)
    assert list(checkpoint_source(checkpoint)["weights"]) == [f"model-0000{n}-of-00002.safetensors" for n in (1, 2)]


def test_a_folder_in_the_repository_is_recorded_by_its_path_there(checkpoint, monkeypatch):
    monkeypatch.setattr(checkpoints, "ROOT", checkpoint.parent)
    monkeypatch.setattr("utils.files.ROOT", checkpoint.parent)
    assert checkpoint_source(checkpoint)["folder"] == "checkpoint"


# Nothing in a checkpoint is run


class Malicious:
    def __init__(self, touched):
        self.touched = touched

    def __reduce__(self):
        return Path.touch, (self.touched,)


@needs_torch
def test_code_in_pytorch_weights_is_not_run(checkpoint, tmp_path):
    (checkpoint / "model.safetensors").unlink()
    code = pickle.dumps(Malicious(tmp_path / "touched"), protocol=2)
    (checkpoint / "pytorch_model.bin").write_bytes(code)
    with pytest.raises(CheckpointError, match=r"holds more than tensors.*nothing else is unpickled"):
        load_backbone(checkpoint)
    assert not (tmp_path / "touched").exists()
    pickle.loads(code)
    assert (tmp_path / "touched").exists()


def test_code_beside_the_weights_is_not_run(checkpoint, tmp_path):
    code = f"import pathlib\npathlib.Path({str(tmp_path / 'touched')!r}).touch()\n"
    (checkpoint / "modeling_own.py").write_text(code)
    own = {"AutoModel": "modeling_own.OwnModel", "AutoConfig": "modeling_own.OwnConfig"}
    change_config(checkpoint, auto_map=own)
    (checkpoint / "tokenizer_config.json").write_text(
        json.dumps({"do_lower_case": False, "auto_map": {"AutoTokenizer": ["modeling_own.OwnTokenizer", None]}})
    )
    load_tokenizer(checkpoint)
    load_backbone(checkpoint)
    assert not (tmp_path / "touched").exists()


def project_code(root: Path = ROOT) -> list[tuple[str, str]]:
    """The Python files of the project but its tests, in whatever folder, and the code cells of its notebooks."""
    places = [root / place for place in ("utils", "benchmarks", "site_source", "notebooks")]
    modules = [path for place in places for path in sorted(place.rglob("*.py"))]
    notebooks = [path for place in places for path in sorted(place.rglob("*.ipynb"))]
    code = [(path.relative_to(root).as_posix(), path.read_text(encoding="utf-8")) for path in modules]
    for path in notebooks:
        cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
        code += [(f"{path.relative_to(root).as_posix()}, cell {cell.id}", cell.source) for cell in cells]
    return code


UNPICKLING_MODULES = {"pickle", "cPickle", "_pickle", "dill", "joblib", "cloudpickle", "shelve", "marshal"}
UNPICKLING_CALLS = ("read_pickle", "to_pickle", "KeyedVectors.load", "Word2Vec.load", "enable_unsafe_deserialization")
SAFE = {"trust_remote_code": "False", "allow_pickle": "False", "safe_mode": "True", "weights_only": "True"}


def unsafe_loads(code: str) -> list[str]:
    """What in the code would run code that comes with data."""
    found = []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = getattr(node, "module", None) or ""
            names = [module, *(alias.name for alias in node.names)]
            found += [name for name in names if name.split(".")[0] in UNPICKLING_MODULES]
            found += ["torch.load by another name" for name in names if (module, name) == ("torch", "load")]
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            set_to = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            found += [f"{called}({name}=...)" for name, value in SAFE.items() if set_to.get(name, value) != value]
            if called == "torch.load" and "weights_only" not in set_to or called.endswith(UNPICKLING_CALLS):
                found.append(called)
    return found


def test_nothing_in_the_project_trusts_remote_code_or_unpickles():
    code = project_code()
    assert len(code) > 50
    assert {name: found for name, source in code if (found := unsafe_loads(source))} == {}


@pytest.mark.parametrize("place", ["utils/sample/deep", "benchmarks/parts", "site_source", "notebooks/ko"])
def test_the_search_for_unsafe_loads_goes_into_every_folder(tmp_path, place):
    (tmp_path / place).mkdir(parents=True)
    (tmp_path / place / "a.py").write_text("import pickle")
    book = new_notebook(cells=[new_markdown_cell("import pickle", id="b"), new_code_cell("import pickle", id="c")])
    nbformat.write(book, tmp_path / place / "a.ipynb")
    found = [name for name, code in project_code(tmp_path) if unsafe_loads(code)]
    assert found == [f"{place}/a.py", f"{place}/a.ipynb, cell c"]


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from joblib import load",
        "from torch import load",
        "import shelve",
        "AutoModel.from_pretrained(name, trust_remote_code=True)",
        "AutoModel.from_pretrained(name, trust_remote_code=trust)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path, allow_pickle=True)",
        "keras.models.load_model(path, safe_mode=False)",
        "pd.read_pickle(path)",
        "gensim.models.KeyedVectors.load(path)",
        "keras.config.enable_unsafe_deserialization()",
    ],
)
def test_the_search_for_unsafe_loads_finds_them(code):
    assert unsafe_loads(code)


# Against PyTorch Transformers


def torch_checkpoint(folder: Path, hidden_act: str) -> "object":
    """Put random weights of PyTorch Transformers, large enough to tell GELUs apart, into `folder`."""
    import torch
    from transformers import BertConfig, BertForPreTraining

    change_config(folder, hidden_act=hidden_act)
    torch.manual_seed(0)
    model = BertForPreTraining(BertConfig(**json.loads((folder / "config.json").read_text()))).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith("intermediate.dense.weight"):
                weight.normal_(0, 0.3)
            elif name.endswith("bias"):
                weight.normal_(0, 0.05)
    model.save_pretrained(folder)
    return model


def hidden_difference(folder: Path, model) -> float:
    inputs = CommentBatches(TEXTS, tokenizer=load_tokenizer(folder), max_length=50, batch_size=8)[0][0]
    return output_difference(load_backbone(folder).predict(inputs, verbose=0), model.bert, inputs)


def output_difference(ours, torch_bert, inputs) -> float:
    """Largest difference in hidden states of real tokens and in pooled vectors."""
    import torch

    with torch.no_grad():
        theirs = torch_bert(
            input_ids=torch.tensor(inputs["token_ids"]),
            token_type_ids=torch.tensor(inputs["segment_ids"]),
            attention_mask=torch.tensor(inputs["padding_mask"]),
        )
    real = inputs["padding_mask"].astype(bool)
    sequence = np.abs(ours["sequence_output"] - theirs.last_hidden_state.numpy())[real].max()
    return float(max(sequence, np.abs(ours["pooled_output"] - theirs.pooler_output.numpy()).max()))


@needs_torch
@pytest.mark.parametrize("hidden_act", GELU_FORMULAS)
def test_hidden_states_equal_those_of_pytorch_for_every_gelu(checkpoint, hidden_act):
    assert hidden_difference(checkpoint, torch_checkpoint(checkpoint, hidden_act)) < 2e-5


@needs_torch
@pytest.mark.parametrize(("ours", "theirs"), [("gelu", "gelu_pytorch_tanh"), ("gelu_pytorch_tanh", "gelu")])
def test_hidden_states_tell_the_two_formulas_apart(checkpoint, ours, theirs):
    model = torch_checkpoint(checkpoint, theirs)
    change_config(checkpoint, hidden_act=ours)
    assert 1e-4 < hidden_difference(checkpoint, model) < 2e-3


@needs_torch
def test_what_pytorch_transformers_saves_in_shards_is_read(checkpoint):
    model = torch_checkpoint(checkpoint, "gelu_pytorch_tanh")
    (checkpoint / "model.safetensors").unlink()
    model.save_pretrained(checkpoint, max_shard_size="200KB")
    assert len(list(checkpoint.glob("model-*-of-*.safetensors"))) > 2
    assert not (checkpoint / "model.safetensors").exists()
    assert hidden_difference(checkpoint, model) < 2e-5


@needs_torch
@pytest.mark.long
@pytest.mark.parametrize("size", KCBERT)
def test_random_weights_of_kcberts_exact_shape_give_what_pytorch_gives(checkpoint, size):
    import torch
    from transformers import BertConfig, BertModel

    change_config(checkpoint, **KCBERT[size])
    config = json.loads((checkpoint / "config.json").read_text())
    random = np.random.default_rng(0)
    lengths = np.array([299, 40, 2, 120])
    mask = (np.arange(299) < lengths[:, None]).astype(np.int32)
    inputs = {
        "token_ids": random.integers(0, 30000, mask.shape, np.int32) * mask,
        "segment_ids": (np.arange(299) > lengths[:, None] // 2).astype(np.int32) * mask,
        "padding_mask": mask,
    }
    torch.manual_seed(0)
    model = BertModel(BertConfig(**config)).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() == 1:
                weight.normal_(float("LayerNorm.weight" in name), 0.05)
    model.save_pretrained(checkpoint)
    weights = model.state_dict()
    for hidden_act in ("gelu", "gelu_pytorch_tanh"):
        change_config(checkpoint, hidden_act=hidden_act)
        peer = BertModel(BertConfig(**config | {"hidden_act": hidden_act})).eval()
        peer.load_state_dict(weights)
        difference = output_difference(load_backbone(checkpoint).predict(inputs, verbose=0), peer, inputs)
        print(f"{hidden_act}: largest difference {difference:.1e}")
        assert difference < 1e-4
