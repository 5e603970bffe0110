"""`python -m training.finetune`: from MIDI files to a checkpoint folder, in one command."""

from __future__ import annotations

import errno
import os
import shlex
import sys
import unicodedata
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import (
    PrinterCallback,
    ProgressCallback,
    TrainerState,
    TrainingArguments,
    set_seed,
)
from transformers.trainer_utils import IntervalStrategy, SchedulerType
from transformers.utils import logging

from hub.publish import check_ready, publish
from musiclstm.errors import CorpusError, MusicLSTMError, PublishError
from musiclstm.midi import clean_text
from musiclstm.model import (
    MusicLSTMForCausalLM,
    TokenTable,
    find_checkpoint,
    load_checkpoint,
    read_facts,
    save_checkpoint,
)
from musiclstm.tokens import MusicTokenizer
from training.arguments import SCRATCH, MusicArguments, parse, read_overrides
from training.data.augmentation import Augmentation, AugmentationSettings
from training.data.band_arrangement import DrumGrooves
from training.data.corpus import Corpus, read_corpus, require_pieces
from training.data.dataset import StatefulWindowDataset
from training.environment import environment
from training.errors import disk_in_plain_words, memory_in_plain_words
from training.evaluation.held_out import held_out
from training.networks import config_for, export_copy, set_dropout
from training.report.data_report import as_text, describe, write_report
from training.report.time_estimate import time_short_run
from training.trainer.callbacks import (
    EarlyStopping,
    LearningCurve,
    Progress,
    has_stalled,
    valid_before,
)
from training.trainer.checkpoints import (
    FINISHED_FILE,
    STATE_FILE,
    check_whole,
    check_writable,
    finish,
    is_exported,
    latest_valid_checkpoint,
    place_for,
    start_or_resume,
    validation_error,
)
from training.trainer.listening import Listening
from training.trainer.malloc import keep_freed_memory
from training.trainer.param_groups import freeze, parts_of, read_parts, read_rates
from training.trainer.run_lock import exclusive_run
from training.trainer.stopping import STOPPED, StoppedError
from training.trainer.trainer import StatefulTrainer

# Fields of a new network's config that follow from the tokenizer and the pieces.
_SETTLED = {
    *("vocab_size", "pad_token_id", "bos_token_id", "eos_token_id", "tokenizer_fingerprint"),
    *("token_names", "step_features_version", "programs"),
}


def main(argv: list[str] | None = None) -> int:
    """Run the command; 0 when the checkpoint folder is written, 1 with a sentence when not.

    A run that SIGTERM stops gives 143, which is what shells make of it.
    """
    try:
        music, training = parse(argv)
        (dry_run if music.dry_run else finetune)(music, training)
    except StoppedError as stopped:
        _say(str(stopped))
        return STOPPED
    except (MusicLSTMError, ValueError) as error:
        sys.stderr.write(f"error: {printable(str(error))}\n")
        return 1
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        sys.stderr.write(
            "error: The disk is full; make room, where temporary files lie as well, and run the "
            "same command again, which resumes from the last checkpoint.\n"
        )
        return 1
    return 0


def finetune(music: MusicArguments, training: TrainingArguments) -> Path:
    """Read the corpus, train, measure, and write a checkpoint folder.

    The same command again resumes where a killed session stopped; a run that has ended is exported
    once, and then only said to be there.

    Returns:
        The folder, `training.output_dir`.

    Raises:
        CorpusError: Nothing to train on.
        CheckpointError: The model to start from cannot be used.
        TrainingError: Too little memory or disk, or a loss that is no number.
        PublishError: The model is written, and the Hub did not take it; or no user is logged in.
        StoppedError: SIGTERM came; the training so far is saved.
    """
    set_seed(training.seed)
    logging.disable_progress_bar()  # of weights that are written in a moment
    if music.hub_repo is not None:
        check_ready(music.hub_repo)  # rather than after hours
    folder = check_writable(Path(str(training.output_dir)))
    with exclusive_run(folder) if training.process_index == 0 else nullcontext():
        return _finetune(folder, music, training)


def _finetune(folder: Path, music: MusicArguments, training: TrainingArguments) -> Path:
    with training.main_process_first(local=False, desc="reading the corpus"):
        corpus = read(music)
    if training.process_index == 0:
        _report(corpus)
    _check_corpus(corpus, training)
    last = _last_checkpoint(training)
    if training.process_index == 0:
        start_or_resume(folder, {"model": music.model, "pieces": corpus.fingerprint})
    model, tokenizer = _prepare(music, corpus) if last is None else load_checkpoint(last)
    with memory_in_plain_words(training, music.window):
        trainer = _trainer(music, training, model, tokenizer, corpus)
        if is_exported(folder, last, trainer.last_step):
            _say(
                f"This run has ended and {folder} holds its model; raise --max_steps or "
                "--num_train_epochs to continue, or choose another --output_dir."
            )
            _publish(folder, music, training)
            return folder
        _train(trainer, last, music.early_stopping_patience)
        if training.process_index == 0:
            _export(folder, music, training, trainer, tokenizer, corpus)
    trainer.accelerator.wait_for_everyone()
    _publish(folder, music, training)
    return folder


def dry_run(music: MusicArguments, training: TrainingArguments) -> Path:
    """Report what a run would read and how long it would take; nothing is trained that is kept.

    Returns:
        The folder of the report, `training.output_dir`.

    Raises:
        CorpusError: Nothing to train on; the report, which says why, is written before.
        CheckpointError: The model to start from cannot be used.
        TrainingError: Too little memory for a step, or a folder that cannot be written to.
    """
    set_seed(training.seed)
    logging.disable_progress_bar()
    folder = check_writable(Path(str(training.output_dir)))
    corpus = read(music, allow_empty=True)
    tokenizer, estimate = MusicTokenizer(), None
    if corpus.tokens("train"):
        _check_corpus(corpus, training)
        model, tokenizer = _prepare(music, corpus)
        with memory_in_plain_words(training, music.window):
            estimate = time_short_run(
                lambda short: _trainer(music, short, model, tokenizer, corpus),
                training,
                tokenizer,
                valid=corpus.tokens("valid"),
                test=corpus.tokens("test"),
            )
    if training.process_index == 0:
        facts = describe(corpus, tokenizer, preset=music.preset, estimate=estimate)
        page = write_report(folder, facts)[1]
        _say(f"{as_text(facts)}\nWrote {page} and, for programs, {page.with_suffix('.json').name}.")
    require_pieces(corpus)
    _check_corpus(corpus, training)
    return folder


def read(music: MusicArguments, *, allow_empty: bool = False) -> Corpus:
    """The corpus that the options ask for."""
    unwanted = [word.strip() for word in music.leave_out.split(",") if word.strip()]
    return read_corpus(
        music.data.split(","), workers=music.workers, leave_out=unwanted, allow_empty=allow_empty
    )


def _train(trainer: StatefulTrainer, last: Path | None, patience: int) -> None:
    """Train to the end, or take the weights of a run that ended before it was exported."""
    if last is None:
        trainer.train()
        return
    trainer.stopwatch.resume(last)
    state = TrainerState.load_from_json(str(last / STATE_FILE))
    if state.global_step < trainer.last_step and not has_stalled(state.log_history, patience):
        _say(f"Resuming from {last.name}.")
        trainer.args.eval_on_start = False  # it would stand in the log twice
        trainer.train(resume_from_checkpoint=str(last))
        return
    _say(f"The run had ended at step {state.global_step:,}; now its model is written.")
    trainer.state = state
    best = place_for(last.parent, state.best_global_step or state.global_step)
    trainer.use_checkpoint(best if validation_error(best) is None else last)


def _export(
    folder: Path,
    music: MusicArguments,
    training: TrainingArguments,
    trainer: StatefulTrainer,
    tokenizer: MusicTokenizer,
    corpus: Corpus,
) -> None:
    """Write the model, and last of all that it was written."""
    (folder / FINISHED_FILE).unlink(missing_ok=True)
    if trainer.average is not None:
        trainer.average.settle()
    facts = _facts(music, training, trainer, tokenizer, corpus, trainer.stopwatch.seconds)
    needed = 2 * facts["parameters"] + 1_000_000
    with disk_in_plain_words(folder, needed):
        save_checkpoint(folder, trainer.network, tokenizer, facts=facts)
        finish(folder, trainer.state.global_step, trainer.last_step)
    _say(f"Saved {folder}: " + ", ".join(_figures(facts)))
    before, best = facts["runs"][-1]["valid_before"], trainer.state.best_metric
    if before is not None and best is not None and best >= before:
        _say(
            f"It predicts the held-out pieces no better than before ({before:.3f} bits per note): "
            "add pieces, or lower --learning_rate or --max_steps."
        )


def _publish(folder: Path, music: MusicArguments, training: TrainingArguments) -> None:
    """Send the finished folder to the Hub, if the options ask for it."""
    repo = music.hub_repo
    if repo is None or training.process_index != 0:
        return
    try:
        delivery = publish(folder, repo, private=music.hub_private or None, say=_say)
    except MusicLSTMError as error:
        words = ["python", "-m", "hub.publish", str(folder), repo]
        later = shlex.join([*words, *(["--private"] if music.hub_private else [])])
        raise PublishError(
            f"{error} Nothing is lost: {folder} holds the model; publish it later with `{later}`."
        ) from error
    _say(f"Published {delivery.url} ({delivery.bytes:,} bytes).")


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


def _check_corpus(corpus: Corpus, training: TrainingArguments) -> None:
    """Refuse a corpus without training pieces; without held-out ones, evaluate nothing."""
    if not corpus.tokens("train"):
        raise CorpusError("The corpus has no piece to train on; add MIDI files to --data.")
    if not corpus.tokens("valid"):
        _say("No piece is held out, so nothing is evaluated; the last weights are kept.")
        training.eval_strategy, training.eval_on_start = IntervalStrategy.NO, False
        training.load_best_model_at_end, training.metric_for_best_model = False, None


def _prepare(music: MusicArguments, corpus: Corpus) -> tuple[MusicLSTMForCausalLM, MusicTokenizer]:
    if music.model == SCRATCH:
        return _fresh(music, corpus)
    model, tokenizer = load_checkpoint(music.model)
    set_dropout(model, music.dropout)
    if model.config.programs is not None:  # None: all of them occurred
        model.config.programs = sorted({*model.config.programs, *corpus.programs()})
    return model, tokenizer


def _fresh(music: MusicArguments, corpus: Corpus) -> tuple[MusicLSTMForCausalLM, MusicTokenizer]:
    tokenizer = MusicTokenizer()
    shape = {
        "hidden_size": music.hidden_size,
        "num_hidden_layers": music.num_hidden_layers,
        "dropout": music.dropout,
    }
    overrides = read_overrides(music.config_overrides)
    if settled := sorted(_SETTLED & set(overrides)):
        raise ValueError(
            f"--config_overrides cannot set {settled[0]}, which follows from the tokenizer and the "
            "pieces; leave it out."
        )
    try:
        config = config_for(
            tokenizer.token_names,
            tokenizer.fingerprint,
            programs=corpus.programs(),
            **shape | overrides,
        )
    except (TypeError, StrictDataclassError) as error:
        reason = str(error).splitlines()[-1].strip().partition("Error: ")
        raise ValueError(
            f"No network can be built so: {(reason[2] or reason[0]).rstrip('.')}; check "
            "--hidden_size, --num_hidden_layers, --dropout and --config_overrides."
        ) from error
    return MusicLSTMForCausalLM(config), tokenizer


def _trainer(
    music: MusicArguments,
    training: TrainingArguments,
    model: MusicLSTMForCausalLM,
    tokenizer: MusicTokenizer,
    corpus: Corpus,
) -> StatefulTrainer:
    windows = _windows(music, training, tokenizer, corpus)
    parts = parts_of(model)
    frozen = freeze(model, read_parts(music.freeze, parts, "--freeze"))
    weights = sum(p.numel() for p in model.parameters())
    _say(
        f"{weights:,} weights{f', {frozen:,} of them frozen' if frozen else ''}, "
        f"{len(tokenizer):,} tokens in the vocabulary, {windows.tokens:,} tokens an epoch"
    )
    valid = corpus.tokens("valid")
    trainer = StatefulTrainer(
        model,
        training,
        windows,
        tokenizer=tokenizer,
        held_out_pieces=valid,
        ema_decay=music.ema_decay,
        rates=read_rates(music.layer_learning_rates, parts, music.layer_decay),
        callbacks=[
            Listening(model, tokenizer, valid, count=music.samples, say=_say),
            LearningCurve(),
            EarlyStopping(music.early_stopping_patience),
        ],
    )
    for plain in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(plain)
    trainer.add_callback(Progress(windows.tokens / windows.updates))
    return trainer


def _windows(
    music: MusicArguments, training: TrainingArguments, tokenizer: MusicTokenizer, corpus: Corpus
) -> StatefulWindowDataset:
    rows = training.per_device_train_batch_size * training.world_size
    return StatefulWindowDataset(
        corpus.tokens("train"),
        tokenizer,
        rows=rows * training.gradient_accumulation_steps,
        batch_size=rows,
        steps=music.window,
        augmentation=_augmentation(music, tokenizer, corpus),
        seed=training.seed,
        weights=corpus.weights("train"),
    )


def _augmentation(music: MusicArguments, tokenizer: MusicTokenizer, corpus: Corpus) -> Augmentation:
    table = TokenTable(tokenizer.token_names)
    # Drums of any piece of the corpus serve; reading them takes time, so only where they are used.
    grooves = DrumGrooves(corpus.tokens("train"), table) if music.augment_band else None
    return Augmentation(
        table, tokenizer.bos_id, tokenizer.eos_id, _augmentation_settings(music), grooves
    )


def _augmentation_settings(music: MusicArguments) -> AugmentationSettings:
    return AugmentationSettings(
        transpose=music.augment_pitch,
        band=music.augment_band,
        merge_tracks=music.augment_merge,
        random_order=music.augment_order,
        drop_parts=music.augment_context,
        noisy_pieces=music.augment_context,
    )


def _last_checkpoint(training: TrainingArguments) -> Path | None:
    """The checkpoint that is given, or the newest whole one in the output folder."""
    given = training.resume_from_checkpoint
    if given is not None and str(given).lower() not in ("true", "1", "yes"):
        return check_whole(Path(given))
    return latest_valid_checkpoint(Path(str(training.output_dir)), _say)


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
        "from": clean_text(_origin(music.model)),
        "preset": music.preset,
        "steps": trainer.state.global_step,
        "tokens_seen": trainer.state.global_step * _tokens_per_step(trainer, training),
        "minutes": round(seconds / 60, 1),
        "window": music.window,
        "rows": training.train_batch_size * training.gradient_accumulation_steps,
        "learning_rate": training.learning_rate,
        "schedule": SchedulerType(training.lr_scheduler_type).value,
        "augmentation": asdict(_augmentation_settings(music)),
        "ema_decay": music.ema_decay,
        "label_smoothing": training.label_smoothing_factor,
        "layer_decay": music.layer_decay,
        "layer_learning_rates": music.layer_learning_rates,
        "frozen": music.freeze,
        "best_step": trainer.state.best_global_step,
        "valid_before": valid_before(trainer.state.log_history),
        "seed": training.seed,
        "device": str(training.device),
        **environment(),
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
    network = export_copy(trainer.network)  # measured as it will be loaded
    torch.nn.Module.to(network, training.device)
    for split in ("valid", "test"):
        pieces = corpus.tokens(split)
        if pieces:
            facts[split] = held_out(network, tokenizer, pieces).facts()
    return facts


def _origin(model: str) -> str:
    """What a run began from, without where on this machine it lay: a folder's name, or a Hub id."""
    return Path(model).name if model == SCRATCH or Path(model).is_dir() else model


def _tokens_per_step(trainer: StatefulTrainer, training: TrainingArguments) -> int:
    rows = training.train_batch_size * training.gradient_accumulation_steps * training.world_size
    return round(rows * trainer.windows.tokens / len(trainer.windows))


def _figures(facts: dict[str, Any]) -> list[str]:
    before = facts["runs"][-1]["valid_before"]
    found = [
        f"{split} {facts[split]['bits_per_note']:.3f} bits per note"
        + (f" ({before:.3f} before)" if split == "valid" and before is not None else "")
        for split in ("valid", "test")
        if split in facts
    ]
    return found or ["not measured, for want of held-out pieces"]


def printable(text: str) -> str:
    """The same without what a terminal would obey; names of folders may hold anything."""
    return "".join(c for c in text if c == "\n" or unicodedata.category(c)[0] != "C")


def _say(text: str) -> None:
    if os.environ.get("RANK", "0") != "0":
        return  # of several processes, one speaks
    sys.stdout.write(printable(text) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    keep_freed_memory()
    sys.exit(main())
