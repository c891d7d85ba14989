"""Drawing a dropout mask in a step compiled by XLA: ``python -m benchmarks.dropout [CALLS]``.

Keras leaves the random algorithm to TensorFlow; `utils.training.set_seeds` names it. PyTorch's dropout stands beside
them. The three take turns, and the fastest call of each counts. Seconds are seconds on the clock, with all cores;
compiling is left out. Needs ``requirements-torch.txt``.
"""

import sys
from collections.abc import Callable

import tensorflow as tf
import torch

from benchmarks.timing import fastest_in_turns, print_table

CALLS = 30
SHAPES = {"features of a Text-CNN": (64, 300), "hidden states of a BERT": (16, 64, 768)}
RATE = 0.5


def compiled(shape: tuple[int, ...], algorithm: str) -> Callable[[], object]:
    """Return a compiled function that applies a new mask to an array at every call."""
    array, seed = tf.ones(shape), tf.Variable([0, 0])

    @tf.function(jit_compile=True)
    def drop() -> tf.Tensor:
        seed.assign_add([0, 1])
        return tf.nn.experimental.stateless_dropout(array, RATE, seed=seed.read_value(), rng_alg=algorithm)

    return lambda: drop().numpy()


def measure(what: str, shape: tuple[int, ...], calls: int) -> dict[str, object]:
    """Return one row of the table, in milliseconds."""
    ours = torch.ones(shape)
    masks = {
        "TensorFlow's choice, ms": compiled(shape, "auto_select"),
        "Philox by name, ms": compiled(shape, "philox"),
        "PyTorch, ms": lambda: torch.nn.functional.dropout(ours, RATE),
    }
    milliseconds = {name: 1000 * seconds for name, seconds in fastest_in_turns(masks, calls).items()}
    slow, fast, _ = milliseconds.values()
    return {"array": f"{what} {shape}"} | milliseconds | {"naming it, times faster": slow / fast}


def main() -> None:
    """Measure both shapes."""
    calls = int(sys.argv[1]) if len(sys.argv) > 1 else CALLS
    rows = [measure(what, shape, calls) for what, shape in SHAPES.items()]
    print_table("Dropout under XLA on a CPU", f"python -m benchmarks.dropout {calls}", rows)


if __name__ == "__main__":
    main()
