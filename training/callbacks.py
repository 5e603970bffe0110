"""What happens beside the training: whole checkpoint folders, and a picture of the learning."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from musiclstm.tokenization import MusicTokenizer

CURVE_FILE = "learning_curve.png"
TIME_FILE = "training_time.json"
_BITS = "eval_bits_per_note"


class WholeCheckpoints(TrainerCallback):
    """Makes every checkpoint one that can be played and resumed: tokenizer, and time spent so far.

    Attributes:
        seconds_before: What earlier sessions of the same run took.
    """

    def __init__(self, tokenizer: MusicTokenizer) -> None:
        """Remember the tokenizer to save, and start the clock."""
        self._tokenizer = tokenizer
        self._begin = time.monotonic()
        self.seconds_before = 0.0

    @property
    def seconds(self) -> float:
        """What the run took so far, over all its sessions."""
        return self.seconds_before + time.monotonic() - self._begin

    def resume(self, checkpoint: Path) -> None:
        """Go on counting where a checkpoint stopped."""
        path = checkpoint / TIME_FILE
        if path.is_file():
            self.seconds_before = json.loads(path.read_text())["seconds"]

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Called by the Trainer after it wrote a checkpoint."""
        if state.is_world_process_zero:
            folder = Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
            self._tokenizer.save(folder)
            (folder / TIME_FILE).write_text(json.dumps({"seconds": round(self.seconds, 1)}))


class LearningCurve(TrainerCallback):
    """Keeps a picture of training loss and held-out bits per note current."""

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Called after every evaluation."""
        if state.is_world_process_zero:
            draw_curve(state.log_history, Path(str(args.output_dir)) / CURVE_FILE)


def draw_curve(history: list[dict[str, float]], path: Path) -> None:
    """Draw loss (nats per token) and held-out bits per note over steps into a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axis = plt.subplots(figsize=(8, 4.5), layout="constrained")
    loss = [(row["step"], row["loss"]) for row in history if "loss" in row]
    bits = [(row["step"], row[_BITS]) for row in history if _BITS in row]
    if loss:
        axis.plot(*zip(*loss, strict=True), color="#9aa5b1", label="training loss (nats per token)")
    axis.set_xlabel("step")
    axis.set_ylabel("nats per token")
    other = axis.twinx()
    if bits:
        other.plot(*zip(*bits, strict=True), "o-", color="#d1495b", label="held-out bits per note")
    other.set_ylabel("bits per note")
    figure.legend(loc="outside upper center", ncols=2, frameon=False)
    figure.savefig(path, dpi=120)
    plt.close(figure)
