"""results/benchmarks.md is where run times live: titles of notebooks and the kcbert profile agree with it."""

import re

import pytest

from utils import notebooks
from utils.cost import KCBERT, T4_SPEED, layer_weights, training_hours, training_memory
from utils.files import ROOT
from utils.run_all import notebook_parameters, read_profile

PAGE = (ROOT / "results" / "benchmarks.md").read_text(encoding="utf-8")
REVIEWS = 79_000  # film reviews with a label
NUMBERS = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5}


def table_below(heading: str) -> dict[str, list[str]]:
    """The rows of the first table below a heading: first cell -> the others."""
    rows = [line.strip("| ").split(" | ") for line in PAGE.partition(f"{heading}\n")[2].splitlines() if "|" in line[:1]]
    columns = len(rows[0])
    return {row[0].strip("`"): row[1:] for row in rows[2:] if len(row) == columns}


RUN_TIMES = table_below("## Run times of the notebooks")
STEPS = {step.name: step for step in read_profile("sample")}
ON_T4 = {
    step.parameters["CHECKPOINT"].rpartition("/")[2]: notebook_parameters(step.notebook) | step.parameters
    for step in read_profile("kcbert")
    if "CHECKPOINT" in step.parameters
}


def times_in_title(step: str) -> tuple[str, str]:
    """What a title says of a CPU, and of Colab and a T4."""
    title = " ".join(notebooks.read(STEPS[step].notebook).cells[0].source.split())
    said = re.search(r"Time: (.*) on a 2-core CPU with the sample.*?; Colab.*?\(an estimate\): (.*)", title)
    assert said, title
    return said[1], said[2]


def minutes(phrase: str) -> tuple[int, int]:
    """The shortest and longest time that words such as `two to four minutes` allow."""
    if phrase == "under a minute":
        return 0, 1
    shortest, longest = re.fullmatch(r"(\w+) to (\w+) minutes", phrase).groups()
    return NUMBERS[shortest], NUMBERS[longest]


def test_every_step_of_the_sample_has_its_times():
    assert list(RUN_TIMES) == list(STEPS)


@pytest.mark.parametrize("step", STEPS)
def test_a_title_says_the_times_of_the_table(step):
    on_cpu, on_t4 = RUN_TIMES[step][1:3]
    cpu_in_title, t4_in_title = times_in_title(step)
    assert cpu_in_title == on_cpu
    assert t4_in_title.startswith(on_t4)
    arithmetic = " ".join(RUN_TIMES[other][3] for other in STEPS if STEPS[other].notebook == STEPS[step].notebook)
    numbers = re.findall(r"\b\d[\d,]*", t4_in_title.partition("KcBERT: section")[0])
    assert [number for number in numbers if not re.search(rf"\b{number}\b", arithmetic)] == []


@pytest.mark.parametrize("step", STEPS)
def test_the_measured_time_is_within_what_the_title_says(step):
    measured, on_cpu = RUN_TIMES[step][:2]
    whole, seconds = map(int, measured.split(":"))
    shortest, longest = minutes(on_cpu)
    if longest == 1:
        assert whole == 0
    else:
        assert shortest <= round(whole + seconds / 60) <= longest


@pytest.mark.parametrize("name", KCBERT)
def test_kcberts_hours_and_gigabytes_on_a_t4_are_counted_from_the_profile(name):
    given, config = ON_T4[name], KCBERT[name]
    tokens = fits(given) * given["EPOCHS"] * given["MAX_LENGTH"] * REVIEWS // 2
    shape = {"batch_size": given["BATCH_SIZE"], "length": given["MAX_LENGTH"]}
    memory = training_memory(config, **shape, accumulation=given["ACCUMULATION"])
    activations = sum(size for part, size in memory.items() if part.startswith("activations"))
    weights = config["num_hidden_layers"] * layer_weights(config)
    batch = f"{given['BATCH_SIZE']} x {given['MAX_LENGTH']}"
    hours = training_hours(config, tokens=tokens, speed=T4_SPEED)
    all_parts = sum(memory.values())
    assert table_below("### KcBERT on a T4")[name] == [
        batch if given["ACCUMULATION"] == 1 else f"{given['ACCUMULATION']} x ({batch})",
        f"{weights:,}",
        f"{6 * weights * tokens:.1e}".replace("+", ""),
        f"{hours:.1f}",
        f"{all_parts - activations:.1f}",
        f"{activations:.1f}",
        f"{all_parts:.1f}",
    ]


def test_the_hours_of_both_add_up():
    hours = [float(row[3]) for row in table_below("### KcBERT on a T4").values()]
    said = re.search(r"Both: (\S+) hours at most. Only (\d+) of the (\d+) fits", PAGE)
    assert float(said[1]) == pytest.approx(sum(hours), abs=0.11)
    assert {fits(given) for given in ON_T4.values()} == {int(said[3])}


def fits(given: dict) -> int:
    """The fits of notebook 04, counted as the cell below its parameters does."""
    return (1 + given["RANDOM_BASELINE"]) * len(given["SEEDS"]) * (len(given["LABEL_BUDGETS"]) + 1) + 2
