"""Reading the archive of film reviews beside pandas: ``python -m benchmarks.movie_reviews [MEGABYTES | PATH]``.

Megabytes are of raw text; the real archive has 985. The files are written for the measurement: invented texts in the
archive's format, votes as sparse and files as unevenly long as there. PATH, an archive's .zip or its unpacked raw/
folder, is measured instead if it is given. Each reading has a process of its own; its peak memory counts Python and the
libraries too. `read_movie_reviews` also verifies every byte and writes its Parquet cache.
"""

import io
import shutil
import sys
import zipfile
from collections.abc import Iterator
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd

from benchmarks.timing import alone, print_table
from benchmarks.votes import draw_votes
from utils.movie_archive import raw_files
from utils.movie_reviews import read_movie_reviews
from utils.sample import generate_comments

MEGABYTES = 256
NAMES = ["id", "group", "rating", "likes", "dislikes", "text"]
TEXTS = 5_000
RECORDS_A_FILE, SPREAD = 35, 2.35  # median, and the spread of a lognormal whose mean is the archive's 550
MOST_RECORDS_A_FILE = 20_000


def write_archive(path: Path, megabytes: int, *, seed: int = 0) -> Path:
    """Write an archive with so many megabytes of raw text: (comment id,movie id,rating,likes,dislikes,'text')."""
    random = np.random.default_rng(seed)
    likes, dislikes = draw_votes(200_000)
    source = enumerate(zip(_texts(), cycle(likes.tolist()), cycle(dislikes.tolist()), strict=False))
    movie, left = 0, megabytes * 1_000_000
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        while left > 0:
            size = 1 + int(min(random.lognormal(np.log(RECORDS_A_FILE), SPREAD), MOST_RECORDS_A_FILE))
            content = bytearray()
            for number, (text, liked, disliked) in islice(source, size):
                content += f"({number},{movie},{1 + number % 10},{liked},{disliked},'{text}')\r\n".encode()
                if len(content) >= left:
                    break
            archive.writestr(f"top/raw/{movie}.txt", bytes(content))
            movie, left = movie + 1, left - len(content)
    return path


def _texts() -> Iterator[str]:
    """Yield texts without end, the first 25 million different: a third of each of two comments, together a review."""
    texts = generate_comments(comments=TEXTS, articles=TEXTS // 20)["text"]
    heads = [text[: len(text) // 3] for text in texts]
    tails = [text[-len(text) // 3 :] for text in texts]
    heads[::150] = [f"''{head}''" for head in heads[::150]]  # a quote is written twice
    return map(str.__add__, cycle(heads), cycle(tails[1:]))


def read_with_pandas(path: Path) -> pd.DataFrame:
    """Return the same table from pandas' CSV parser, for which the parentheses belong to the first and last field."""
    text = dict.fromkeys(["id", "group", "text"], str)
    options = {"header": None, "names": NAMES, "quotechar": "'", "dtype": text, "keep_default_na": False}
    files = (io.BytesIO(content) for _, content in raw_files(path))
    table = pd.concat([pd.read_csv(file, encoding_errors="replace", **options) for file in files], ignore_index=True)
    return table.assign(id=table["id"].str[1:], text=table["text"].str[:-1])


def measure(path: Path) -> dict[str, float]:
    """Return a row of the table: both ways to read the archive."""
    megabytes = sum(len(content) for _, content in raw_files(path)) / 1_000_000
    seconds, peak = alone(partial(read_movie_reviews, path))
    peer_seconds, peer_peak = alone(partial(read_with_pandas, path))
    return {
        "MB of text": round(megabytes),
        "read_movie_reviews, CPU s": seconds,
        "MB a CPU second": megabytes / seconds,
        "peak MB": round(peak),
        "pandas.read_csv, CPU s": peer_seconds,
        "pandas' peak MB": round(peer_peak),
    }


def archives(argument: str, folder: Path) -> Iterator[Path]:
    """Yield archives of an eighth, a quarter, a half and all of the megabytes, or a copy of the one that is named."""
    if argument.isdecimal():
        for size in (int(argument) // 8, int(argument) // 4, int(argument) // 2, int(argument)):
            yield write_archive(folder / f"{size}.zip", size)
    else:
        copy = shutil.copytree if Path(argument).is_dir() else shutil.copyfile
        yield copy(argument, folder / Path(argument).name)


def main() -> None:
    """Measure archives at growing sizes."""
    argument = sys.argv[1] if len(sys.argv) > 1 else str(MEGABYTES)
    with TemporaryDirectory() as folder:
        rows = [measure(path) for path in archives(argument, Path(folder))]
    print_table("Reading the archive of film reviews", f"python -m benchmarks.movie_reviews {argument}", rows)


if __name__ == "__main__":
    main()
