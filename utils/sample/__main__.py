"""Command line of the generator: ``python -m utils.sample [--output FOLDER] [--seed N]``."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..files import ROOT
from . import write_sample


def main() -> None:
    """Write the sample files and say what was written."""
    parser = argparse.ArgumentParser(prog="python -m utils.sample", description=main.__doc__)
    parser.add_argument("--output", type=Path, default=ROOT / "data", metavar="FOLDER", help="default: data/")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s, the seed of the committed files")
    arguments = parser.parse_args()
    for path, rows in write_sample(arguments.output, seed=arguments.seed).items():
        print(f"{path}: {rows} comments, {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
