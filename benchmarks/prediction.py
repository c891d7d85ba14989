"""Text-CNN predictions from raw text, and where the time goes: ``python -m benchmarks.prediction [COMMENTS]``.

The comments are those of the sample's generator. Kiwi's own bulk call with two workers on the same comments, cleaned
before, stands beside our tokenizer: the two take turns, so that a machine that grows slower slows both, and the medians
count. Seconds are seconds on the clock, with all cores.
"""

import sys
from statistics import median

from kiwipiepy import Kiwi

from benchmarks.timing import print_table, timed
from utils.classifier import TextCnnClassifier
from utils.sample import generate_comments
from utils.text import build_vocabulary, clean_comment, encode_tokens, kiwi, tokenize
from utils.text_cnn import build_text_cnn

COMMENTS = 100_000
MAX_LENGTH = 48
TURNS = 3


def main() -> None:
    """Measure Kiwi alone, each part of a prediction, and the whole."""
    comments = int(sys.argv[1]) if len(sys.argv) > 1 else COMMENTS
    texts = generate_comments(comments=comments, articles=max(1, comments // 20))["text"].tolist()
    peer = Kiwi(num_workers=2)
    for analyser in (peer, kiwi()):
        analyser.tokenize(texts[0])  # loads the model
    cleaned, cleaning = timed(lambda: [clean_comment(text) for text in texts])
    bulk, tokenizing = [], []
    for _ in range(TURNS):
        bulk.append(timed(lambda: list(peer.tokenize(cleaned, compatible_jamo=True)))[1])
        sentences, seconds = timed(lambda: tokenize(texts))
        tokenizing.append(seconds)
    vocabulary = build_vocabulary(sentences)
    model = build_text_cnn(len(vocabulary), max_length=MAX_LENGTH, variant="rand")
    classifier = TextCnnClassifier(model, vocabulary)
    classifier.predict_proba(texts[:300])  # compiles
    ids, encoding = timed(lambda: encode_tokens(sentences, vocabulary, max_length=MAX_LENGTH))
    _, network = timed(lambda: model.predict(ids, batch_size=256, verbose=0))
    _, whole = timed(lambda: classifier.predict_proba(texts))
    parts = {
        "Kiwi's bulk call, two workers": median(bulk),
        "tokenize: all of it": median(tokenizing),
        "tokenize: cleaning alone": cleaning,
        "encode_tokens": encoding,
        "the network": network,
        "predict_proba, raw text to probability": whole,
    }
    rows = [
        {"part": part, "seconds": seconds, "comments a second": round(comments / seconds)}
        for part, seconds in parts.items()
    ]
    print_table("Text-CNN, prediction", f"python -m benchmarks.prediction {comments}", rows)


if __name__ == "__main__":
    main()
