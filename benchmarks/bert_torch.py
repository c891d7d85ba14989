"""The PyTorch side of `benchmarks.bert`, run by it: `Trainer` of Transformers on the same comments."""

import sys
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)

from benchmarks.timing import matmul_flops
from benchmarks.turns import Turns


class Steps(TrainerCallback):
    """A turn for every training step."""

    def __init__(self, turns: Turns) -> None:
        self.turns = turns

    def on_step_begin(self, *arguments: Any, **more: Any) -> None:
        """Wait for the turn."""
        self.turns.begin()

    def on_step_end(self, *arguments: Any, **more: Any) -> None:
        """Report the turn, once the GPU has done it."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.turns.end()


def encode(folder: Path, texts: list[str], max_length: int) -> list[list[int]]:
    """Return the token ids of comments."""
    return BertTokenizer.from_pretrained(folder)(texts, truncation=True, max_length=max_length)["input_ids"]


def build(folder: Path) -> BertForSequenceClassification:
    """Return the classifier."""
    return BertForSequenceClassification(BertConfig.from_pretrained(folder, num_labels=2))


def main() -> None:
    """Train for so many epochs, then predict as often, then multiply matrices."""
    folder, precision = Path(sys.argv[1]), sys.argv[2]
    batch_size, max_length, epochs = map(int, sys.argv[3:])
    turns = Turns()
    set_seed(0)
    comments = pd.read_parquet(folder / "comments.parquet")
    ids = encode(folder, comments["text"].tolist(), max_length)
    rows = [
        {"input_ids": row, "attention_mask": [1] * len(row), "label": label}
        for row, label in zip(ids, comments["label"].tolist(), strict=True)
    ]
    settings = TrainingArguments(
        output_dir=str(folder / "trainer"),
        per_device_train_batch_size=batch_size,
        per_device_eval_batch_size=batch_size,
        num_train_epochs=epochs,
        learning_rate=5e-5,
        weight_decay=0.01,
        warmup_steps=0.1,
        max_grad_norm=1.0,
        bf16=precision == "bf16",
        use_cpu=not torch.cuda.is_available(),
        train_sampling_strategy="group_by_length",
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    padding = DataCollatorWithPadding(BertTokenizer.from_pretrained(folder))
    trainer = Trainer(build(folder), settings, data_collator=padding, train_dataset=rows, callbacks=[Steps(turns)])
    trainer.train()
    rows.sort(key=lambda row: len(row["input_ids"]))  # it predicts in the order that it is given
    for _ in range(epochs):
        turns.begin()
        trainer.predict(rows)
        turns.end()
    turns.begin()
    matrix = torch.randn(2048, 2048, dtype={"fp32": torch.float32, "bf16": torch.bfloat16}[precision])
    matrix = matrix.to(settings.device)
    flops = matmul_flops(lambda: float((matrix @ matrix)[0, 0]), len(matrix))
    turns.end(flops=flops, device=torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU")


if __name__ == "__main__":
    main()
