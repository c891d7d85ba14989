"""What fine-tuning a BERT costs: weights, memory, time, from its config.json (미세조정의 비용)."""

KCBERT = {
    "kcbert-base": {
        "vocab_size": 30_000,
        "max_position_embeddings": 300,
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
    },
    "kcbert-large": {
        "vocab_size": 30_000,
        "max_position_embeddings": 300,
        "hidden_size": 1024,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "intermediate_size": 4096,
    },
}
# Floating-point operations a second. Two CPU cores: KcBERT-base, 16 x 64 tokens, took 1.8 s a step (2.9e11) where
# they have AVX-512; half of that is assumed. T4: not measured, a quarter of the 65e12 that its data sheet says.
CPU_SPEED, T4_SPEED = 1.5e11, 1.6e13
T4_GIGABYTES = 14.5  # of the 16, what the driver and TensorFlow's own needs leave


def layer_weights(config: dict) -> int:
    """Return the number of weights of one layer: attention, inner layer, two LayerNorms.

    Parameters
    ----------
    config : dict
        config.json of a BERT, or an entry of `KCBERT`.
    """
    width, inner = config["hidden_size"], config["intermediate_size"]
    return 4 * width**2 + 2 * width * inner + 9 * width + inner


def bert_weights(config: dict) -> int:
    """Return the number of weights of a BERT: embeddings, layers, pooler.

    Parameters
    ----------
    config : dict
        config.json of a BERT, or an entry of `KCBERT`.
    """
    width = config["hidden_size"]
    rows = config["vocab_size"] + config["max_position_embeddings"] + 2  # two segments
    return (rows + 2) * width + config["num_hidden_layers"] * layer_weights(config) + width**2 + width


def training_memory(
    config: dict, *, batch_size: int, length: int, accumulation: int = 1, half: bool = True
) -> dict[str, float]:
    """Return the gigabytes that full fine-tuning with AdamW holds at once, part by part.

    Parameters
    ----------
    config : dict
        config.json of a BERT, or an entry of `KCBERT`.
    batch_size, length : int
        Comments a batch, tokens a comment.
    accumulation : int
        Batches whose gradients are added up before a step.
    half : bool
        Whether it computes in half precision (mixed_float16), as on a T4; the weights are float32 always.

    Returns
    -------
    dict of str to float
        Parts in GB (10^9 bytes).

    Notes
    -----
    Bytes of activations a token and layer, fitted to TensorFlow's own count of a training step of this project's
    classifier (Keras 3.15, TensorFlow 2.21): 78 and 5 in half precision, 128 and 8 in float32. Korthikanti et al. 2022
    (Reducing Activation Recomputation in Large Transformer Models) arrive at 34 and 5 for a network whose GELU and
    LayerNorm keep nothing between; Keras keeps GELU's intermediate results. A test holds the sum against the count.
    The logits, two numbers a comment, are nothing beside them.
    """
    weights, tokens = bert_weights(config), batch_size * length
    per_width, per_head = (78, 5) if half else (128, 8)
    per_layer = per_width * config["hidden_size"] + per_head * config["num_attention_heads"] * length
    parts = {"weights": 4 * weights, "gradients": 4 * weights, "AdamW's two means": 8 * weights}
    parts["half-precision copy"] = 2 * weights if half else 0
    parts["accumulated gradients"] = 8 * weights if accumulation > 1 else 0  # the sum, and its copy at the step
    parts["activations, one layer"] = tokens * per_layer
    parts["activations, other layers"] = tokens * per_layer * (config["num_hidden_layers"] - 1)
    parts["logits"] = batch_size * 2 * 4
    return {name: amount / 1e9 for name, amount in parts.items()}


def largest_batch(config: dict, *, length: int, gigabytes: float = T4_GIGABYTES, accumulation: int = 1) -> int:
    """Return the largest power of two of comments of `length` tokens that fits in half precision, 0 if none does.

    Parameters
    ----------
    config, length, accumulation
        As in `training_memory`.
    gigabytes : float
        Memory there is, in GB (10^9 bytes).
    """
    batch_size = 1
    while _total(config, batch_size, length, accumulation) <= gigabytes:
        batch_size *= 2
    return batch_size // 2


def _total(config: dict, batch_size: int, length: int, accumulation: int) -> float:
    return sum(training_memory(config, batch_size=batch_size, length=length, accumulation=accumulation).values())


def training_hours(config: dict, *, tokens: int, speed: float) -> float:
    """Return the hours that training on `tokens` takes: 6 operations a token and weight of the layers.

    Parameters
    ----------
    config : dict
        As in `training_memory`.
    tokens : int
        Tokens of all batches of all epochs, padding included.
    speed : float
        Floating-point operations a second: `CPU_SPEED`, `T4_SPEED`.

    Notes
    -----
    Two operations forward and four backward for each weight (Kaplan et al. 2020, Scaling laws for neural language
    models, section 2.1); the products of attention, some per cent more at 50 tokens, are left out.
    """
    return 6 * config["num_hidden_layers"] * layer_weights(config) * tokens / speed / 3600
