"""utils.bert: tokenizer, batches by length, classifier; checkpoints are in test_checkpoints."""

import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest

from utils import bert, training
from utils.checkpoints import CheckpointError, checkpoint_source
from utils.classifier import BertClassifier, ClassifierFolderError, load_classifier
from utils.files import sha256_of

SHARED = Path(__file__).resolve().parents[2] / "shared"
REAL_KCBERT = SHARED / "kcbert" / "kcbert-base"
REAL_COMMENTS = SHARED / "data" / "movie140_dev.parquet"
TEXTS = ["가 가", "각 갈 감 갑 가 각 갈", "", "가", "간 나 다 ㅋㅋ !", "가 나"]


@pytest.fixture(scope="module")
def tokenizer(kcbert_shaped_checkpoint):
    return bert.load_tokenizer(kcbert_shaped_checkpoint)


@pytest.fixture
def checkpoint(kcbert_shaped_checkpoint, tmp_path):
    """A copy that a test may damage."""
    return Path(shutil.copytree(kcbert_shaped_checkpoint, tmp_path / "checkpoint"))


def change_config(folder: Path, **changes) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


def test_a_vocabulary_larger_than_the_embedding_is_refused(checkpoint):
    change_config(checkpoint, vocab_size=100)
    with pytest.raises(CheckpointError, match="room for 100"):
        bert.load_tokenizer(checkpoint)


def test_the_random_control_has_the_same_shape_and_other_weights(kcbert_shaped_checkpoint):
    training.set_seeds(0)
    pretrained = bert.load_backbone(kcbert_shaped_checkpoint)
    random = bert.load_backbone(kcbert_shaped_checkpoint, pretrained=False)
    assert [tuple(w.shape) for w in random.weights] == [tuple(w.shape) for w in pretrained.weights]
    assert not np.allclose(random.token_embedding.embeddings, pretrained.token_embedding.embeddings)
    assert random.max_sequence_length == pretrained.max_sequence_length == 300


def test_special_tokens_typed_in_a_comment_stay_ordinary_text(tokenizer):
    special = {tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.mask_token_id, tokenizer.pad_token_id}
    (ids,) = bert.encode_comments(tokenizer, ["[CLS] 가 [SEP] [MASK] [PAD]"], 50)
    assert (ids[0], ids[-1]) == (tokenizer.cls_token_id, tokenizer.sep_token_id)
    assert not special & set(ids[1:-1])


def test_comments_are_cut_to_the_length_and_to_the_positions_of_the_model(tokenizer):
    long, short = bert.encode_comments(tokenizer, ["가 " * 500, "가"], 400)
    assert len(long) == 299 and long[-1] == tokenizer.sep_token_id
    assert short == [tokenizer.cls_token_id, tokenizer.convert_tokens_to_ids("가"), tokenizer.sep_token_id]
    assert [len(ids) for ids in bert.encode_comments(tokenizer, ["가 나 다", ""], 4)] == [4, 2]


def test_a_length_without_room_for_a_token_is_refused(tokenizer):
    with pytest.raises(ValueError, match="max_length"):
        bert.encode_comments(tokenizer, ["가"], 2)


@pytest.mark.skipif(not REAL_KCBERT.is_dir(), reason="the real vocabulary of KcBERT is not here")
def test_kcbert_tokenizer_keeps_case_and_whole_syllables():
    tokenizer = bert.load_tokenizer(REAL_KCBERT)
    assert (len(tokenizer), tokenizer.model_max_length) == (30000, 300)
    assert "".join(tokenizer.tokenize("안녕하세요")).replace("##", "") == "안녕하세요"
    assert tokenizer.tokenize("LG") != tokenizer.tokenize("lg")


@pytest.fixture(scope="module")
def wordpiece():
    """KcBERT's token ids by the tokenizer in Python that transformers kept: it shares no code with the fast one."""
    if not REAL_KCBERT.is_dir():
        pytest.skip("the real vocabulary of KcBERT is not here")
    from transformers.models.bert.tokenization_bert_legacy import BertTokenizerLegacy

    peer = BertTokenizerLegacy(str(REAL_KCBERT / "vocab.txt"), do_lower_case=False)

    def encode(text: str) -> list[int]:
        words = peer.basic_tokenizer.tokenize(text)
        return peer.convert_tokens_to_ids(
            [piece for word in words for piece in peer.wordpiece_tokenizer.tokenize(word)]
        )

    return encode


def real_ids(texts: list[str]) -> list[list[int]]:
    tokenizer = bert.load_tokenizer(REAL_KCBERT)
    encoded = bert.encode_comments(tokenizer, texts, 300)
    assert {(ids[0], ids[-1]) for ids in encoded} == {(tokenizer.cls_token_id, tokenizer.sep_token_id)}
    return [ids[1:-1] for ids in encoded]


@pytest.mark.skipif(not REAL_COMMENTS.is_file(), reason="the real comments are not here")
def test_token_ids_of_100_000_real_comments_equal_those_of_an_independent_wordpiece(wordpiece):
    import pandas as pd

    texts = pd.read_parquet(REAL_COMMENTS, columns=["text"])["text"].sample(100_000, random_state=0).tolist()
    differ = sum(ours != wordpiece(text)[:297] for text, ours in zip(texts, real_ids(texts), strict=True))
    assert differ == 0  # a count, so that no comment is shown where it fails


@pytest.mark.parametrize(
    "text",
    [
        "[CLS] 좋아요 [SEP] [MASK] [PAD] [UNK]",
        "[MASK]ㅋㅋ[SEP]",
        "##요 ## [unused1] [ SEP ]",
        "한국어日本語 中文",
        "caf\u00e9 \ufeff가\u200b나\x00다\ufffd라",
        "😀👍🏽❤️ ㅋ" * 20,
        "가" * 101,
        "좋아요 " * 400,
        " \t\n\r\u00a0\u3000",
        "",
    ],
)
def test_token_ids_of_odd_comments_equal_those_of_an_independent_wordpiece(wordpiece, text):
    assert real_ids([text]) == [wordpiece(text)[:297]]


def test_decomposed_hangul_is_where_the_two_wordpieces_part(wordpiece):
    composed, decomposed = "한글", "\u1112\u1161\u11ab\u1100\u1173\u11af"
    assert real_ids([composed]) == [wordpiece(composed)] == [wordpiece(decomposed)]  # the one in Python composes first
    assert real_ids([decomposed]) == [[bert.load_tokenizer(REAL_KCBERT).unk_token_id]]  # KcBERT's vocabulary has none


@pytest.mark.skipif(not REAL_KCBERT.is_dir(), reason="the real vocabulary of KcBERT is not here")
@pytest.mark.parametrize("special", ["[CLS]", "[SEP]", "[MASK]", "[PAD]", "[UNK]"])
def test_special_tokens_typed_in_a_comment_stay_text_for_kcbert_too(special):
    tokenizer = bert.load_tokenizer(REAL_KCBERT)
    (ids,) = real_ids([f"좋아요 {special} 싫어요{special}"])
    assert tokenizer.convert_tokens_to_ids(special) not in ids
    assert "".join(tokenizer.convert_ids_to_tokens(ids)).replace("##", "") == f"좋아요{special}싫어요{special}"


def rows_of(batch, tokenizer):
    """The texts' token lists of a batch, unpadded."""
    return [
        ids[mask.astype(bool)].tolist() for ids, mask in zip(batch["token_ids"], batch["padding_mask"], strict=True)
    ]


def test_prediction_batches_hold_every_comment_once_and_give_the_order_back(tokenizer):
    batches = bert.CommentBatches(TEXTS, tokenizer=tokenizer, max_length=20, batch_size=4)
    rows = [row for i in range(len(batches)) for row in rows_of(batches[i][0], tokenizer)]
    assert [rows[i] for i in batches.inverse] == bert.encode_comments(tokenizer, TEXTS, 20)
    assert [len(row) for row in rows] == sorted(len(row) for row in rows)


def test_a_batch_is_padded_to_its_own_longest_comment(tokenizer):
    batches = bert.CommentBatches(TEXTS, tokenizer=tokenizer, max_length=20, batch_size=3)
    inputs = batches[1][0]
    assert inputs["token_ids"].shape == inputs["segment_ids"].shape == (3, 9)
    assert (inputs["token_ids"][inputs["padding_mask"] == 0] == tokenizer.pad_token_id).all()
    assert inputs["segment_ids"].sum() == 0
    assert {array.dtype for array in inputs.values()} == {np.dtype("int32")}


def test_training_batches_change_with_the_epoch_and_repeat_with_the_seed(tokenizer):
    def epochs(seed):
        batches = bert.CommentBatches(
            [f"가 {'나 ' * (i % 5)}" for i in range(64)],
            np.arange(64),
            tokenizer=tokenizer,
            max_length=20,
            batch_size=8,
            shuffle=True,
            seed=seed,
        )
        seen = []
        for _ in range(2):
            seen.append(np.concatenate([batches[i][1] for i in range(len(batches))]).tolist())
            batches.on_epoch_end()
        return seen

    first, second = epochs(0)
    assert sorted(first) == sorted(second) == list(range(64))
    assert first != second
    assert epochs(0) == [first, second] != epochs(1)


def test_sample_weights_follow_the_class(tokenizer):
    batches = bert.CommentBatches(
        TEXTS, [0, 1, 0, 0, 1, 0], tokenizer=tokenizer, max_length=20, class_weight={0: 0.75, 1: 1.5}, shuffle=True
    )
    _, labels, weights = batches[0]
    assert weights.tolist() == [1.5 if label else 0.75 for label in labels]
    assert sum(weights) == pytest.approx(6.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"texts": []}, "texts is empty"),
        ({"labels": [0]}, "one entry per text"),
        ({"labels": [0, 0, -1, 0, 0, 0]}, "-1 at index 2"),
        ({"class_weight": {0: 1.0, 1: 1.0}}, "needs labels"),
        ({"batch_size": 0}, "batch_size"),
    ],
)
def test_batches_refuse_what_they_cannot_batch(tokenizer, arguments, message):
    with pytest.raises(ValueError, match=message):
        bert.CommentBatches(**{"texts": TEXTS, "tokenizer": tokenizer, "max_length": 20} | arguments)


def small_classifier(folder, seed=0, **arguments):
    training.set_seeds(seed)
    return bert.build_bert_classifier(bert.load_backbone(folder), **arguments)


def test_lengths_may_vary_though_the_first_two_batches_are_equally_long(kcbert_shaped_checkpoint, tokenizer):
    texts = ["가 나"] * 4 + ["가 나 다 라 마 바"] * 2 + ["가"]
    batches = bert.CommentBatches(texts, [0, 1] * 3 + [1], tokenizer=tokenizer, max_length=20, batch_size=2)
    batches.batches = [np.array([0, 1]), np.array([2, 3]), np.array([4, 5]), np.array([6])]
    assert [batches[i][0]["token_ids"].shape for i in range(4)] == [(2, 5), (2, 4), (2, 8), (1, 3)]
    model = small_classifier(kcbert_shaped_checkpoint)
    model.compile("adam", "sparse_categorical_crossentropy", jit_compile=False)
    history = model.fit(batches, epochs=1, verbose=0)
    assert np.isfinite(history.history["loss"][0])


@pytest.mark.parametrize("batch", [[0], [0, 2], [1, 4]], ids=["of one", "of class 0 alone", "of class 1 alone"])
def test_a_step_on_a_small_or_one_sided_batch_raises_the_probability_of_its_class(
    batch, kcbert_shaped_checkpoint, tokenizer
):
    labels = [0, 1, 0, 0, 1, 0]
    batches = bert.CommentBatches(
        TEXTS, labels, tokenizer=tokenizer, max_length=20, class_weight=training.class_weights(labels)
    )
    batches.batches = [np.array(batch)]
    model = small_classifier(kcbert_shaped_checkpoint, dropout=0.0)
    model.compile(keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy", jit_compile=False)
    unseen = bert.CommentBatches(
        [TEXTS[row] for row in batch], tokenizer=tokenizer, max_length=20, batch_size=len(batch)
    )
    before = model.predict(unseen, verbose=0)
    model.fit(batches, epochs=3, verbose=0, shuffle=False)
    after = model.predict(unseen, verbose=0)
    assert np.all(after[:, labels[batch[0]]] > before[:, labels[batch[0]]])


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_padding_does_not_change_a_prediction(kcbert_shaped_checkpoint, tokenizer, pooling):
    model = small_classifier(kcbert_shaped_checkpoint, pooling=pooling)
    together = bert.CommentBatches(TEXTS, tokenizer=tokenizer, max_length=20, batch_size=6)
    alone = bert.CommentBatches(TEXTS, tokenizer=tokenizer, max_length=20, batch_size=1)
    ours = model.predict(together, verbose=0)[together.inverse]
    assert ours == pytest.approx(model.predict(alone, verbose=0)[alone.inverse], abs=1e-5)


def test_the_classifier_ends_in_a_softmax_over_the_classes(kcbert_shaped_checkpoint, tokenizer):
    model = small_classifier(kcbert_shaped_checkpoint, num_classes=3, dropout=0.4)
    probabilities = model.predict(bert.CommentBatches(TEXTS, tokenizer=tokenizer, max_length=20), verbose=0)
    assert probabilities.shape == (len(TEXTS), 3)
    assert probabilities.sum(1) == pytest.approx(np.ones(len(TEXTS)), abs=1e-5)
    assert model.get_layer("dropout").rate == 0.4


def test_the_mean_is_taken_over_the_real_tokens_alone(kcbert_shaped_checkpoint, tokenizer):
    model = small_classifier(kcbert_shaped_checkpoint, pooling="mean")
    inputs = bert.CommentBatches(TEXTS, tokenizer=tokenizer, max_length=20)[0][0]
    vectors = np.asarray(model.get_layer("bert_backbone")(inputs)["sequence_output"])
    real = inputs["padding_mask"].astype(bool)
    expected = np.stack([row[mask].mean(0) for row, mask in zip(vectors, real, strict=True)])
    pooled = keras.Model(model.inputs, model.get_layer("mean").output)
    assert real.sum(1).min() < real.shape[1]
    assert np.asarray(pooled(inputs)) == pytest.approx(expected, abs=1e-5)


def test_the_mean_leaves_the_pooler_out_of_training(kcbert_shaped_checkpoint):
    model = small_classifier(kcbert_shaped_checkpoint, pooling="mean")
    assert not any("pooled" in weight.path for weight in model.trainable_weights)
    assert any("pooled" in weight.path for weight in model.weights)


def test_an_unknown_pooling_is_refused(kcbert_shaped_checkpoint):
    with pytest.raises(ValueError, match='"cls" or "mean", got \'max\''):
        small_classifier(kcbert_shaped_checkpoint, pooling="max")


def test_a_frozen_backbone_leaves_only_the_head_to_train(kcbert_shaped_checkpoint):
    model = small_classifier(kcbert_shaped_checkpoint)
    model.get_layer("bert_backbone").trainable = False
    assert [tuple(weight.shape) for weight in model.trainable_weights] == [(48, 2), (2,)]


@pytest.mark.parametrize(("tuning", "frozen"), [("full", set()), ("last-layers", {"embedding", "layer_0"})])
def test_the_lower_half_stays_as_pretraining_left_it(kcbert_shaped_checkpoint, tokenizer, tuning, frozen):
    model = small_classifier(kcbert_shaped_checkpoint, dropout=0.0)
    backbone = model.get_layer("bert_backbone")
    bert.freeze(backbone, tuning)
    before = {weight.path: np.array(weight) for weight in backbone.weights}
    model.compile(keras.optimizers.Adam(1e-2), "sparse_categorical_crossentropy", jit_compile=False)
    model.fit(bert.CommentBatches(TEXTS, [0, 1, 0, 0, 1, 0], tokenizer=tokenizer, max_length=20), verbose=0)
    moved = {weight.path for weight in backbone.weights if not np.array_equal(weight, before[weight.path])}
    assert all(any(part in path for path in moved) for part in {"embedding", "layer_0", "layer_1"} - frozen)
    assert not any(part in path for path in moved for part in frozen)


def test_an_unknown_tuning_is_refused(kcbert_shaped_checkpoint):
    with pytest.raises(ValueError, match='"last-layers" or "frozen", got \'half\''):
        bert.freeze(bert.load_backbone(kcbert_shaped_checkpoint), "half")


def test_the_same_seed_fine_tunes_to_the_same_weights(kcbert_shaped_checkpoint, tokenizer):
    def fit(seed):
        model = small_classifier(kcbert_shaped_checkpoint, seed)
        model.compile(keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy", jit_compile=False)
        batches = bert.CommentBatches(
            TEXTS * 3, [0, 1, 0, 0, 1, 0] * 3, tokenizer=tokenizer, max_length=20, batch_size=4, shuffle=True, seed=seed
        )
        model.fit(batches, epochs=2, verbose=0)
        return model.get_layer("probabilities").get_weights()[0]

    assert np.array_equal(fit(0), fit(0))
    assert not np.array_equal(fit(0), fit(1))


def test_a_comment_of_more_tokens_than_the_model_has_positions_is_cut_and_never_a_crash(kcbert_shaped_checkpoint):
    tokenizer = bert.load_tokenizer(kcbert_shaped_checkpoint)
    classifier = BertClassifier(small_classifier(kcbert_shaped_checkpoint), tokenizer, 10_000)
    for count in (296, 297, 298, 299, 300, 301, 5_000):
        alone = classifier.predict_proba([" ".join("가나다라마"[i % 5] for i in range(count))])
        cut = classifier.predict_proba([" ".join("가나다라마"[i % 5] for i in range(min(count, 297)))])
        assert alone == pytest.approx(cut, abs=1e-6)


def test_a_saved_classifier_records_the_checkpoint_it_started_from(kcbert_shaped_checkpoint, tokenizer, tmp_path):
    source = {"hub": "beomi/kcbert-base", "commit": "0123456789abcdef0123456789abcdef01234567"}
    model = small_classifier(kcbert_shaped_checkpoint)
    BertClassifier(model, tokenizer, 20, source=source).save(tmp_path / "saved")
    assert json.loads((tmp_path / "saved" / "classifier.json").read_text())["settings"]["source"] == source
    again = load_classifier(tmp_path / "saved")
    assert again.source == source
    again.save(tmp_path / "copy")
    assert load_classifier(tmp_path / "copy").source == source


def test_the_card_of_a_saved_classifier_says_what_it_started_from_learned_and_cannot_do(
    kcbert_shaped_checkpoint, tokenizer, tmp_path
):
    known = {
        "source": {"hub": "beomi/kcbert-base", "commit": "0123abcd"},
        "about": "800 labelled comments of mine.csv; macro F1 0.71 on validation",
        "class_names": ["찬성", "반대"],
    }
    BertClassifier(small_classifier(kcbert_shaped_checkpoint), tokenizer, 20, **known).save(tmp_path / "saved")
    card = (tmp_path / "saved" / "README.md").read_text(encoding="utf-8")
    for stated in ("beomi/kcbert-base, commit 0123abcd", known["about"], "0 = 찬성, 1 = 반대", "cut after 20 tokens"):
        assert stated in card
    assert "2 layers of width 48, 3,000 word pieces" in card and "**Limits.**" in card and "**Licence.**" in card
    load_classifier(tmp_path / "saved").save(tmp_path / "copy")
    assert (tmp_path / "copy" / "README.md").read_text(encoding="utf-8") == card


def test_the_card_names_a_folder_by_the_hash_of_its_weights_and_says_what_is_not_recorded(
    kcbert_shaped_checkpoint, tokenizer
):
    model, source = small_classifier(kcbert_shaped_checkpoint), checkpoint_source(kcbert_shaped_checkpoint)
    assert (
        f"has SHA-256 {source['weights']['model.safetensors']})"
        in BertClassifier(model, tokenizer, 20, source=source).card()
    )
    assert BertClassifier(model, tokenizer, 20).card().count("not recorded") == 2


def test_a_saved_classifier_knows_the_names_of_its_classes(kcbert_shaped_checkpoint, tokenizer, tmp_path):
    model = bert.build_bert_classifier(bert.load_backbone(kcbert_shaped_checkpoint), num_classes=3)
    BertClassifier(model, tokenizer, 20, class_names=["긍정", "부정", "중립"]).save(tmp_path / "saved")
    again = load_classifier(tmp_path / "saved")
    assert again.class_names == ("긍정", "부정", "중립")
    assert again.predict_proba(["가", ""]).shape == (2, 3)


def test_a_source_that_is_a_folder_is_recorded_by_the_hash_of_its_weights(
    kcbert_shaped_checkpoint, tokenizer, tmp_path
):
    source = checkpoint_source(kcbert_shaped_checkpoint)
    BertClassifier(small_classifier(kcbert_shaped_checkpoint), tokenizer, 20, source=source).save(tmp_path / "saved")
    recorded = load_classifier(tmp_path / "saved").source
    assert recorded["weights"] == {"model.safetensors": sha256_of(kcbert_shaped_checkpoint / "model.safetensors")}


def test_a_classifier_saved_before_sources_were_recorded_still_loads(kcbert_shaped_checkpoint, tokenizer, tmp_path):
    BertClassifier(small_classifier(kcbert_shaped_checkpoint), tokenizer, 20).save(tmp_path / "saved")
    manifest = json.loads((tmp_path / "saved" / "classifier.json").read_text())
    del manifest["settings"]["source"], manifest["sha256"]
    (tmp_path / "saved" / "classifier.json").write_text(json.dumps(manifest))
    assert load_classifier(tmp_path / "saved").source is None


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_a_saved_classifier_predicts_the_same_on_raw_text(kcbert_shaped_checkpoint, tokenizer, tmp_path, pooling):
    ours = BertClassifier(small_classifier(kcbert_shaped_checkpoint, pooling=pooling), tokenizer, 20)
    ours.save(tmp_path / "saved")
    raw = ["가ㅋㅋㅋㅋㅋㅋ", "", "나 https://example.com 다", "[SEP] 가", "가 " * 900]
    again = load_classifier(tmp_path / "saved")
    assert again.predict_proba(raw).shape == (5, 2)
    assert again.predict_proba(raw).dtype == np.float32
    assert np.array_equal(again.predict_proba(raw), ours.predict_proba(raw))
    assert again.predict_proba(["가ㅋㅋ"])[0] == pytest.approx(ours.predict_proba(raw)[0], abs=1e-6)
    assert again.predict_proba([]).shape == (0, 2)


def test_an_altered_classifier_is_refused(kcbert_shaped_checkpoint, tokenizer, tmp_path):
    BertClassifier(small_classifier(kcbert_shaped_checkpoint), tokenizer, 20).save(tmp_path / "saved")
    with (tmp_path / "saved" / "vocab.txt").open("a") as vocabulary:
        vocabulary.write("몰래\n")
    with pytest.raises(ClassifierFolderError, match=r"vocab\.txt was altered"):
        load_classifier(tmp_path / "saved")
