"""The benchmarks run, and measure the same thing on both sides."""

import subprocess
import sys
import zipfile
from functools import partial

import keras
import numpy as np
import pandas as pd
import pytest

from benchmarks.bert import SIZES, draw_comments, forward_flops, write_checkpoint
from benchmarks.bert_keras import RoundedBatches, build
from benchmarks.labelling import peer
from benchmarks.movie_reviews import archives, read_with_pandas, write_archive
from benchmarks.timing import alone
from benchmarks.turns import Program
from benchmarks.votes import draw_votes
from utils.bert import CommentBatches, encode_comments, load_tokenizer
from utils.files import ROOT
from utils.labelling import label_controversy
from utils.movie_archive import raw_files, raw_tree_id
from utils.movie_reviews import read_movie_reviews
from utils.text_cnn import VARIANTS, build_text_cnn


def rows_shown(name, *arguments):
    """The lines under the table's head, split into cells; the command stands above."""
    command = [sys.executable, "-m", f"benchmarks.{name}", *arguments]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=300).stdout
    assert f"`python -m benchmarks.{name} {' '.join(arguments)}`" in shown
    return [line.replace(",", "").split() for line in shown.split("\n\n")[1].splitlines()[1:]]


@pytest.mark.parametrize("name", ["labelling", "near_duplicates"])
def test_a_benchmark_prints_its_command_and_four_sizes(name):
    assert [row[0] for row in rows_shown(name, "1600")] == ["200", "400", "800", "1600"]


def test_reading_is_measured_in_time_and_memory_at_four_sizes():
    rows = np.array(rows_shown("movie_reviews", "8"), dtype=float)
    sizes, seconds, speed, peak, _, _ = rows.T
    assert sizes.tolist() == [1, 2, 4, 8]
    np.testing.assert_allclose(speed, sizes / seconds, rtol=0.1)
    assert ((peak > sizes) & (peak < 1_000)).all() and peak[-1] > peak[0]


@pytest.mark.parametrize("unpacked", [False, True])
def test_an_archive_that_is_named_is_copied_so_that_it_stays_as_it_is(tmp_path, unpacked):
    path = write_archive(tmp_path / "named.zip", 1)
    if unpacked:
        with zipfile.ZipFile(path) as archive:
            archive.extractall(tmp_path)
        path = tmp_path / "top" / "raw"
    (tmp_path / "copies").mkdir()
    (copy,) = archives(str(path), tmp_path / "copies")
    assert copy.parent == tmp_path / "copies" and raw_tree_id(copy) == raw_tree_id(path)


def test_the_archive_has_the_megabytes_asked_for_in_records_that_both_readers_understand(tmp_path):
    path = write_archive(tmp_path / "reviews.zip", 2)
    assert sum(len(content) for _, content in raw_files(path)) == pytest.approx(2_000_000, abs=2_000)
    ours, theirs = read_movie_reviews(path), read_with_pandas(path)
    assert ours["text"].str.startswith("'").mean() == pytest.approx(1 / 150, rel=0.05)
    pd.testing.assert_frame_equal(ours, theirs[list(ours)], check_dtype=False)
    assert (theirs[["likes", "dislikes", "rating"]].dtypes == np.int64).all()


def test_memory_of_a_call_is_that_of_its_process_alone():
    here = bytearray(200_000_000)
    seconds, small = alone(partial(bytes, 1))
    _, large = alone(partial(bytearray, b"x" * 100_000_000))
    assert small < len(here) / 1e6 and 80 < large - small < 400 and seconds < 1


def test_the_votes_are_as_sparse_as_those_of_the_film_reviews():
    likes, dislikes = draw_votes(200_000)
    assert np.mean(likes + dislikes == 0) == pytest.approx(0.71, abs=0.01)
    assert np.mean(likes + dislikes >= 20) == pytest.approx(0.018, abs=0.002)


def test_the_peer_gives_the_columns_that_labelling_gives():
    likes, dislikes = draw_votes(20_000)
    voted = likes + dislikes > 0
    ours = label_controversy(likes, dislikes)[["ci_low", "ci_high", "band_probability"]].to_numpy()
    theirs = np.stack(peer(likes, dislikes), axis=1)
    np.testing.assert_allclose(ours[voted], theirs[voted], atol=1e-12)


@pytest.mark.parametrize("variant", VARIANTS)
def test_both_text_cnns_answer_alike_and_move_alike_in_a_training_step(variant, monkeypatch):
    torch = pytest.importorskip("torch")
    benchmark = pytest.importorskip("benchmarks.text_cnn")
    monkeypatch.setattr(benchmark, "VOCABULARY_SIZE", 500)
    monkeypatch.setattr(benchmark, "MAX_NORM", 0.5)  # so that the limit binds
    # Adam turns a gradient of 1e-8 into a whole step or half of one, by its epsilon: plain steps show the gradients.
    monkeypatch.setattr(benchmark, "Adam", keras.optimizers.SGD)
    monkeypatch.setattr(torch.optim, "Adam", torch.optim.SGD)
    monkeypatch.setattr(benchmark, "LEARNING_RATE", 1.0)
    ids, labels = benchmark.draw_comments(benchmark.BATCH_SIZE)
    embeddings = np.random.default_rng(1).normal(size=(500, benchmark.DIM)).astype(np.float32)
    embeddings = None if variant == "rand" else embeddings
    settings = {"embedding_dim": benchmark.DIM, "dropout": 0.0, "max_norm": benchmark.MAX_NORM, "variant": variant}
    ours = build_text_cnn(500, max_length=benchmark.LENGTH, embeddings=embeddings, **settings)
    theirs = benchmark.TorchTextCnn(embeddings, variant)
    theirs.dropout.p = 0.0
    start = {weight.path: torch.from_numpy(keras.ops.convert_to_numpy(weight).copy()) for weight in ours.weights}
    with torch.no_grad():
        for path, weight in torch_weights(theirs).items():
            weight.copy_(start[path])

    def compare(tolerance):
        with torch.no_grad():
            probabilities = torch.softmax(theirs(torch.from_numpy(ids)), dim=1).numpy()
        np.testing.assert_allclose(ours.predict(ids, verbose=0), probabilities, atol=tolerance)
        found = torch_weights(theirs)
        assert set(found) == set(start)
        for weight in ours.weights:
            theirs_now = found[weight.path].detach().numpy()
            np.testing.assert_allclose(weight.numpy(), theirs_now, atol=tolerance, err_msg=weight.path)

    compare(1e-5)
    assert benchmark.train_in_turns(ids, labels, ours, theirs, rounds=0) == {"Keras": [], "PyTorch": []}
    compare(1e-4)
    moved = {weight.path for weight in ours.weights if np.abs(weight.numpy() - start[weight.path].numpy()).max() > 1e-4}
    held = {"static": {"vectors/embeddings"}, "multichannel": {"fixed_vectors/embeddings"}}
    assert moved == set(start) - held.get(variant, set())


def torch_weights(network):
    """The PyTorch network's weights by Keras's names, seen in Keras's order of axes."""
    found = {"vectors/embeddings": network.vectors.weight}
    if network.fixed_vectors is not None:
        found["fixed_vectors/embeddings"] = network.fixed_vectors.weight
    for convolution in network.convolutions:
        name = f"window_{convolution.kernel_size[0]}"
        found |= {f"{name}/kernel": convolution.weight.permute(2, 1, 0), f"{name}/bias": convolution.bias}
    return found | {"classes/kernel": network.classes.weight.T, "classes/bias": network.classes.bias}


def test_the_step_of_adamw_is_measured_beside_keras_and_pytorch(monkeypatch, capsys):
    pytest.importorskip("torch")
    benchmark = pytest.importorskip("benchmarks.optimizer")
    monkeypatch.setitem(benchmark.KCBERT, "kcbert-base", SIZES["tiny"])
    monkeypatch.setattr("sys.argv", ["optimizer", "2"])
    benchmark.main()
    title, _, _, *rows = capsys.readouterr().out.strip().splitlines()
    layers, width, inner = 2, 48, 96
    assert title == f"AdamW, {30_000 * width + layers * (4 * width**2 + 2 * width * inner):,} weights"
    milliseconds, ratio = np.array([row.split()[-2:] for row in rows[1:]], dtype=float).T
    np.testing.assert_allclose(ratio, milliseconds[0] / milliseconds, rtol=0.1)


def test_the_text_cnns_speed_is_shown_for_every_variant():
    pytest.importorskip("torch")
    rows = rows_shown("text_cnn", "128")
    assert [row[0] for row in rows] == list(VARIANTS)
    ours, theirs, ratio, lower, upper, gflops, products, gigabytes, memory, floor = np.array(
        [row[1:-1] for row in rows], dtype=float
    ).T
    assert (np.stack([ours, theirs, lower, gflops, gigabytes]) > 0).all()
    assert (lower <= ratio).all() and (ratio <= upper).all()
    np.testing.assert_allclose(floor, products + memory, atol=0.011)
    assert [row[-1] for row in rows] == list(np.where(products >= memory, "products", "memory"))


def test_the_ratio_is_that_of_the_median_turns_inside_its_interval(monkeypatch):
    benchmark = pytest.importorskip("benchmarks.text_cnn")
    turns = {"Keras": [1.0, 2.0, 4.0], "PyTorch": [1.5, 4.0, 10.0]}
    monkeypatch.setattr(benchmark, "train_in_turns", lambda *networks, rounds: turns)
    row = benchmark.measure("rand", *benchmark.draw_comments(100), (1e9, 1e9))
    assert (row["from"], row["times faster"], row["to"]) == (1.5, 2.0, 2.5)
    assert (row["Keras, comments a second"], row["PyTorch, comments a second"]) == (50, 25)


def test_the_operations_and_bytes_of_a_step_are_those_of_its_arrays():
    pytest.importorskip("torch")
    benchmark = pytest.importorskip("benchmarks.text_cnn")
    answers = 64 * 48 * 100  # comments, places, filters of one width
    assert benchmark.step_flops("static") == 2 * answers * (3 + 4 + 5) * 100 * 2
    assert benchmark.step_flops("rand") == benchmark.step_flops("multichannel") == 2 * answers * (3 + 4 + 5) * 100 * 3
    rows, table = 64 * 48 * 100 * 4, 20_000 * 100 * 4
    assert benchmark.step_bytes("static") == 2 * rows
    assert benchmark.step_bytes("non-static") == 2 * rows + 8 * table
    assert benchmark.step_bytes("multichannel") == 4 * rows + 8 * table
    found = benchmark.bound("static", 0.5, (1e9, 1e9))
    assert found["GFLOP/s"] == pytest.approx(benchmark.step_flops("static") / 0.5e9) and found["bound"] == "products"
    assert found["share of a product's"] == pytest.approx(benchmark.step_flops("static") / 0.5e9)
    assert found["share of a copy's"] == pytest.approx(benchmark.step_bytes("static") / 0.5e9)
    assert benchmark.bound("rand", 0.5, (1e15, 1e9))["bound"] == "memory"


def test_a_prediction_is_measured_whole_and_part_by_part():
    rows = rows_shown("prediction", "300")
    assert [row[0] for row in rows] == ["Kiwi's", "tokenize:", "tokenize:", "encode_tokens", "the", "predict_proba"]
    seconds, rates = np.array([row[-2:] for row in rows], dtype=float).T
    np.testing.assert_allclose(seconds, 300 / rates, atol=0.01)


@pytest.fixture(scope="module")
def comments():
    """Twenty comments of the sample."""
    return draw_comments(ROOT / "data" / "sample_comments.csv", 20)["text"].tolist()


@pytest.fixture
def tiny_bert(comments, tmp_path):
    """A folder with the tiny network's config and a vocabulary, without weights."""
    write_checkpoint(tmp_path, "tiny", comments)
    return tmp_path


def test_both_berts_take_the_same_tokens_and_answer_alike_with_the_same_weights(tiny_bert, comments):
    torch = pytest.importorskip("torch")
    benchmark = pytest.importorskip("benchmarks.bert_torch")
    theirs = benchmark.build(tiny_bert).eval()
    with torch.no_grad():
        for weight in theirs.parameters():
            if weight.ndim == 2:
                weight.normal_(0, 0.2)
    theirs.save_pretrained(tiny_bert)
    ours = build(tiny_bert, 10, pretrained=True)
    head = theirs.classifier.state_dict()
    ours.get_layer("probabilities").set_weights([head["weight"].T.numpy(), head["bias"].numpy()])
    tokenizer = load_tokenizer(tiny_bert)
    batches = CommentBatches(comments, tokenizer=tokenizer, max_length=30, batch_size=20)
    inputs = {name: torch.tensor(array) for name, array in batches[0][0].items()}
    with torch.no_grad():
        logits = theirs(input_ids=inputs["token_ids"], attention_mask=inputs["padding_mask"]).logits
    probabilities = torch.softmax(logits, dim=1).numpy()
    assert benchmark.encode(tiny_bert, comments, 30) == encode_comments(tokenizer, comments, 30)
    np.testing.assert_allclose(ours.predict(batches, verbose=0), probabilities, atol=1e-4)
    assert np.ptp(probabilities[:, 1]) > 0.1


def test_rounded_batches_hold_the_same_comments_in_few_widths_and_are_predicted_alike(tiny_bert, comments):
    settings = {"tokenizer": load_tokenizer(tiny_bert), "max_length": 32, "batch_size": 4}
    own = CommentBatches(comments, **settings)
    model = build(tiny_bert, 10)
    for multiple in (8, 32):
        rounded = RoundedBatches(texts=comments, multiple=multiple, **settings)
        widths = [rounded[i][0]["token_ids"].shape[1] for i in range(len(rounded))]
        real = [[int(batches[i][0]["padding_mask"].sum()) for i in range(len(own))] for batches in (own, rounded)]
        assert all(width % multiple == 0 for width in widths) and real[0] == real[1]
        np.testing.assert_allclose(model.predict(rounded, verbose=0), model.predict(own, verbose=0), atol=1e-5)


def test_the_operations_of_a_bert_are_those_of_its_matrix_products():
    layers, width, inner, tokens = 2, 48, 96, 3
    products = tokens * (4 * width * width + 2 * width * inner)  # query, key, value, output; the two dense layers
    attention = 2 * tokens * tokens * width  # every token with every token: the weights, and the mean by them
    pooler = width * width
    assert forward_flops(np.array([tokens]), "tiny") == 2 * (layers * (products + attention) + pooler)


def test_keras_and_trainer_take_turns_and_keras_does_not_trace_again_after_the_first_epoch():
    pytest.importorskip("torch")
    pytest.importorskip("accelerate")
    arguments = "--size tiny --steps 2 --batch-size 8 --precisions fp32 --multiples 1"
    peer, ours = rows_shown("bert", *arguments.split())
    assert (peer[0], ours[:3]) == ("Trainer", ["Keras", "own", "longest"])
    assert float(ours[-8]) == pytest.approx(float(ours[-9]) / float(peer[-9]), rel=0.1)
    assert (peer[-1], ours[-1]) == ("-", "0")


def test_a_program_that_fails_in_its_turn_is_named():
    with Program("benchmarks.absent", 1) as program, pytest.raises(RuntimeError, match=r"absent 1 ended with exit"):
        program.turn()
