"""`python -m training.finetune`: from MIDI files to a checkpoint folder, in one command."""

from __future__ import annotations

import platform
import sys
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import TrainingArguments, set_seed
from transformers.trainer_utils import SchedulerType, get_last_checkpoint

from musiclstm import __version__
from musiclstm.checkpoint import find_checkpoint, load_checkpoint, read_facts, save_checkpoint
from musiclstm.configuration import MusicLSTMConfig
from musiclstm.errors import CorpusError, MusicLSTMError
from musiclstm.modeling import LockedDropout, MusicLSTMForCausalLM
from musiclstm.tokenization import MusicTokenizer
from training.arguments import MusicArguments, parse
from training.augmentation import Augmentation
from training.callbacks import LearningCurve, WholeCheckpoints
from training.corpus import Corpus, read_corpus
from training.metrics import held_out
from training.trainer import StatefulTrainer
from training.windows import Windows

SCRATCH = "scratch"


def main(argv: list[str] | None = None) -> int:
    """Run the command; 0 when the checkpoint folder is written, 1 with a sentence when not."""
    try:
        finetune(*parse(argv))
    except (MusicLSTMError, ValueError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


def finetune(music: MusicArguments, training: TrainingArguments) -> Path:
    """Read the corpus, train, measure, and write a checkpoint folder.

    Returns:
        The folder, `training.output_dir`.

    Raises:
        CorpusError: Nothing to train on.
        CheckpointError: The model to start from cannot be used.
    """
    set_seed(training.seed)
    corpus = read_corpus(music.data.split(","), workers=music.workers)
    _report(corpus)
    last = _last_checkpoint(training)
    model, tokenizer = _prepare(music, corpus) if last is None else load_checkpoint(last)
    checkpoints = WholeCheckpoints(tokenizer)
    trainer = _trainer(music, training, model, tokenizer, corpus, checkpoints)
    if last is not None:
        _say(f"Going on from {last.name}.")
        checkpoints.resume(last)
    trainer.train(resume_from_checkpoint=None if last is None else str(last))
    facts = _facts(music, training, trainer, tokenizer, corpus, checkpoints.seconds)
    folder = Path(str(training.output_dir))
    save_checkpoint(folder, trainer.network, tokenizer, facts=facts)
    _say(f"Saved {folder}: " + ", ".join(_figures(facts)))
    return folder


def _report(corpus: Corpus) -> None:
    for row in corpus.summary():
        counts = ", ".join(
            f"{split} {row[split]['pieces']:,} pieces / {row[split]['notes']:,} notes"  # type: ignore[index]
            for split in ("train", "valid", "test")
        )
        _say(f"{row['name']}: {counts}")
    for skipped in corpus.skipped[:20]:
        _say(f"  left out {skipped.name}: {skipped.reason}")
    if len(corpus.skipped) > 20:
        _say(f"  left out {len(corpus.skipped) - 20:,} more")
    if not corpus.tokens("train"):
        raise CorpusError("The corpus has no piece to train on; add MIDI files to --data.")


def _prepare(music: MusicArguments, corpus: Corpus) -> tuple[MusicLSTMForCausalLM, MusicTokenizer]:
    if music.model == SCRATCH:
        return _fresh(music, corpus)
    model, tokenizer = load_checkpoint(music.model)
    if music.dropout is not None:
        model.config.dropout = model.config.embedding_dropout = music.dropout
        for module in model.modules():
            if isinstance(module, LockedDropout):
                module.share = music.dropout
    if model.config.programs is not None:  # None: it has heard them all
        model.config.programs = sorted({*model.config.programs, *corpus.programs()})
    return model, tokenizer


def _fresh(music: MusicArguments, corpus: Corpus) -> tuple[MusicLSTMForCausalLM, MusicTokenizer]:
    tokenizer = MusicTokenizer()
    tokenizer.learn_merges(corpus.tokens("train"), music.vocab_size)
    dropout = 0.1 if music.dropout is None else music.dropout
    config = MusicLSTMConfig(
        vocab_size=len(tokenizer),
        hidden_size=music.hidden_size,
        num_hidden_layers=music.num_hidden_layers,
        dropout=dropout,
        embedding_dropout=dropout,
        pad_token_id=tokenizer.pad_id,
        bos_token_id=tokenizer.bos_id,
        eos_token_id=tokenizer.eos_id,
        tokenizer_fingerprint=tokenizer.fingerprint,
        programs=corpus.programs(),
    )
    return MusicLSTMForCausalLM(config), tokenizer


def _trainer(
    music: MusicArguments,
    training: TrainingArguments,
    model: MusicLSTMForCausalLM,
    tokenizer: MusicTokenizer,
    corpus: Corpus,
    checkpoints: WholeCheckpoints,
) -> StatefulTrainer:
    rows = training.per_device_train_batch_size * training.world_size
    windows = Windows(
        corpus.tokens("train"),
        tokenizer,
        lanes=rows * training.gradient_accumulation_steps,
        batch_size=rows,
        steps=music.window,
        augmentation=Augmentation(music.augment_pitch, music.augment_velocity, music.augment_tempo),
        seed=training.seed,
    )
    _say(
        f"{sum(p.numel() for p in model.parameters()):,} weights, {len(tokenizer):,} tokens in the "
        f"vocabulary, {windows.tokens:,} tokens an epoch"
    )
    return StatefulTrainer(
        model,
        training,
        windows,
        tokenizer=tokenizer,
        held_out_pieces=corpus.tokens("valid"),
        callbacks=[checkpoints, LearningCurve()],
    )


def _last_checkpoint(training: TrainingArguments) -> Path | None:
    """Where an earlier session of this run stopped: as told, or the newest in the output folder."""
    folder = Path(str(training.output_dir))
    told = training.resume_from_checkpoint
    last = told or (get_last_checkpoint(str(folder)) if folder.is_dir() else None)
    return None if last is None else Path(last)


def _facts(
    music: MusicArguments,
    training: TrainingArguments,
    trainer: StatefulTrainer,
    tokenizer: MusicTokenizer,
    corpus: Corpus,
    seconds: float,
) -> dict[str, Any]:
    """Everything worth knowing of this run, and of those it builds on."""
    run = {
        "command": "training.finetune",
        "from": Path(music.model).name,
        "preset": music.preset,
        "steps": trainer.state.global_step,
        "tokens_seen": trainer.state.global_step * _tokens_per_step(trainer, training),
        "minutes": round(seconds / 60, 1),
        "window": music.window,
        "rows": training.train_batch_size * training.gradient_accumulation_steps,
        "learning_rate": training.learning_rate,
        "schedule": SchedulerType(training.lr_scheduler_type).value,
        "augmentation": {
            "pitch": music.augment_pitch,
            "velocity": music.augment_velocity,
            "tempo": music.augment_tempo,
        },
        "seed": training.seed,
        "device": str(training.device),
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
        "versions": {
            "musiclstm": __version__,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
    }
    before = (
        [] if music.model == SCRATCH else read_facts(find_checkpoint(music.model)).get("runs", [])
    )
    facts: dict[str, Any] = {
        "parameters": sum(p.numel() for p in trainer.network.parameters()),
        "vocabulary": len(tokenizer),
        "data": corpus.summary(),
        "left_out": len(corpus.skipped),
        "runs": [*before, run],
    }
    for split in ("valid", "test"):
        pieces = corpus.tokens(split)
        if pieces:
            facts[split] = held_out(trainer.network, tokenizer, pieces).facts()
    return facts


def _tokens_per_step(trainer: StatefulTrainer, training: TrainingArguments) -> int:
    rows = training.train_batch_size * training.gradient_accumulation_steps * training.world_size
    return round(rows * trainer.windows.tokens / len(trainer.windows))


def _figures(facts: dict[str, Any]) -> list[str]:
    found = [
        f"{split} {facts[split]['bits_per_note']:.3f} bits per note"
        for split in ("valid", "test")
        if split in facts
    ]
    return found or ["not measured, for want of held-out pieces"]


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
