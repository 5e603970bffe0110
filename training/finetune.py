"""`python -m training.finetune`: train on MIDI files and write a checkpoint folder."""

from __future__ import annotations

import errno
import os
import shlex
import shutil
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
from musiclstm.cli import run_command
from musiclstm.errors import CorpusError, MusicLSTMError, PublishError
from musiclstm.generation import Sampling
from musiclstm.midi import clean_text
from musiclstm.model import (
    BAR_SCORE_FILE,
    MEMORIZATION_FILE,
    MusicLSTMForCausalLM,
    TokenTable,
    find_checkpoint,
    load_checkpoint,
    read_facts,
    save_checkpoint,
)
from musiclstm.tokens import MusicTokenizer
from training.arguments import SCRATCH, MusicArguments, parse, parse_overrides
from training.bar_score import BARS, PROMPT_BARS, fit_pieces, store
from training.data.augmentation import Augmentation, AugmentationSettings
from training.data.band_arrangement import DrumGrooves
from training.data.corpus import Corpus, read_corpus, require_pieces
from training.data.dataset import StatefulWindowDataset
from training.environment import environment
from training.errors import (
    SIGTERM_STATUS,
    StoppedError,
    convert_disk_errors,
    convert_memory_errors,
)
from training.evaluation.bits_per_note import measure_bits
from training.evaluation.continuations import ContinuationPlan
from training.memorization import index_of
from training.networks import config_for, export_copy, set_dropout
from training.report.data_report import as_text, describe, write_report
from training.report.time_estimate import time_short_run
from training.trainer.callbacks import (
    ConsoleCallback,
    EarlyStopCallback,
    LearningCurveCallback,
    SampleCallback,
    should_stop_early,
    valid_before,
)
from training.trainer.checkpoints import (
    FINISHED_FILE,
    STATE_FILE,
    check_writable,
    checkpoint_path,
    exclusive_run,
    is_exported,
    latest_valid_checkpoint,
    mark_finished,
    require_valid,
    start_or_resume,
    validation_error,
)
from training.trainer.malloc import keep_freed_memory
from training.trainer.param_groups import freeze, parse_parts, parse_rates, parts_of
from training.trainer.trainer import StatefulTrainer

# Config fields of a new network that are derived from the tokenizer and the pieces.
_DERIVED_FIELDS = {
    *("vocab_size", "pad_token_id", "bos_token_id", "eos_token_id", "tokenizer_fingerprint"),
    *("token_names", "step_features_version", "programs"),
}


def main(argv: list[str] | None = None) -> int:
    """Run the command; return 0, 1 after an error message, or 143 after SIGTERM."""
    try:
        music, training = parse(argv)
        (dry_run if music.dry_run else finetune)(music, training)
    except StoppedError as stopped:
        _say(str(stopped))
        return SIGTERM_STATUS
    except (MusicLSTMError, ValueError) as error:
        sys.stderr.write(f"error: {printable(str(error))}\n")
        return 1
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        sys.stderr.write(
            "error: The disk is full; free some space, also for temporary files, and run the same "
            "command again, which resumes from the last checkpoint.\n"
        )
        return 1
    return 0


def finetune(music: MusicArguments, training: TrainingArguments) -> Path:
    """Read the corpus, train, evaluate, and write a checkpoint folder.

    The same command again resumes a run that was killed, and does not change one that has ended.

    Returns:
        The folder, `training.output_dir`.

    Raises:
        CorpusError: There are no pieces to train on.
        CheckpointError: The model to start from cannot be used.
        TrainingError: Memory or disk is full, or the loss is not finite.
        PublishError: No user is logged in, or the Hub refused the model, which is written.
        StoppedError: SIGTERM was received; a checkpoint is written.
    """
    set_seed(training.seed)
    logging.disable_progress_bar()  # of reading and writing weights
    if music.hub_repo is not None:
        check_ready(music.hub_repo)  # before hours of training
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
    model, tokenizer = _load_or_create(music, corpus) if last is None else load_checkpoint(last)
    with convert_memory_errors(training, music.window):
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
    """Write a report of the corpus and of the estimated training time.

    Returns:
        The folder of the report, `training.output_dir`.

    Raises:
        CorpusError: There are no pieces to train on; the report with the reasons is written first.
        CheckpointError: The model to start from cannot be used, or the folder cannot be written.
        TrainingError: There is not enough memory for a step.
    """
    set_seed(training.seed)
    logging.disable_progress_bar()
    folder = check_writable(Path(str(training.output_dir)))
    corpus = read(music, allow_empty=True)
    tokenizer, estimate = MusicTokenizer(), None
    if corpus.tokens("train"):
        _check_corpus(corpus, training)
        model, tokenizer = _load_or_create(music, corpus)
        with convert_memory_errors(training, music.window):
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
    """Read the corpus of the options."""
    excluded = [word.strip() for word in music.leave_out.split(",") if word.strip()]
    return read_corpus(
        music.data.split(","), workers=music.workers, leave_out=excluded, allow_empty=allow_empty
    )


def _train(trainer: StatefulTrainer, last: Path | None, patience: int) -> None:
    """Train to the end, or load the weights of a run that ended before it was exported."""
    if last is None:
        trainer.train()
        return
    trainer.timer.resume(last)
    state = TrainerState.load_from_json(str(last / STATE_FILE))
    if state.global_step < trainer.last_step and not should_stop_early(state.log_history, patience):
        _say(f"Resuming from {last.name}.")
        trainer.args.eval_on_start = False  # it is already in the log
        trainer.train(resume_from_checkpoint=str(last))
        return
    _say(f"The run ended at step {state.global_step:,}; writing its model.")
    trainer.state = state
    best = checkpoint_path(last.parent, state.best_global_step or state.global_step)
    trainer.use_checkpoint(best if validation_error(best) is None else last)


def _export(
    folder: Path,
    music: MusicArguments,
    training: TrainingArguments,
    trainer: StatefulTrainer,
    tokenizer: MusicTokenizer,
    corpus: Corpus,
) -> None:
    """Write the model, then record that it is written."""
    (folder / FINISHED_FILE).unlink(missing_ok=True)
    if trainer.average is not None:
        trainer.average.copy_to_module()
    facts = _facts(music, training, trainer, tokenizer, corpus, trainer.timer.seconds)
    needed = 2 * facts["parameters"] + 1_000_000
    with convert_disk_errors(folder, needed):
        save_checkpoint(folder, trainer.network, tokenizer, facts=facts)
        index_of(corpus, base=_base_folder(music.model)).save(folder / MEMORIZATION_FILE)
        _write_bar_score(folder, music, corpus)
        mark_finished(folder, trainer.state.global_step, trainer.last_step)
    _say(f"Saved {folder}: {_summary(facts)}")
    before, best = facts["runs"][-1]["valid_before"], trainer.state.best_metric
    if before is not None and best is not None and best >= before:
        _say(
            f"The held-out pieces did not improve ({before:.3f} bits per note before training): "
            "add pieces, or lower --learning_rate or --max_steps."
        )


def _write_bar_score(folder: Path, music: MusicArguments, corpus: Corpus) -> None:
    """Write the score of candidates: that of the starting point, or one fitted to the pieces."""
    base = _base_folder(music.model)
    if base is not None and (base / BAR_SCORE_FILE).is_file():
        shutil.copyfile(base / BAR_SCORE_FILE, folder / BAR_SCORE_FILE)
    if not music.bar_score_pieces:
        return
    plan = ContinuationPlan(music.bar_score_pieces, 1, PROMPT_BARS, BARS, Sampling(seed=1))
    try:
        names = {f"{piece.corpus}/{piece.name}" for piece in corpus.pieces}
        found = fit_pieces(folder, music.data.split(","), plan, names=names)
    except CorpusError as error:
        _say(f"The score of candidates stays that of the starting point: {error}")
        return
    store(folder, found)
    _say(f"Score of candidates: AUC {found.auc['all']:.2f} on {found.pieces} pieces")


def _publish(folder: Path, music: MusicArguments, training: TrainingArguments) -> None:
    """Upload the finished folder to the Hub if the options name a repository."""
    repo = music.hub_repo
    if repo is None or training.process_index != 0:
        return
    try:
        delivery = publish(folder, repo, private=music.hub_private or None, log=_say)
    except MusicLSTMError as error:
        words = ["python", "-m", "hub.publish", str(folder), repo]
        command = shlex.join([*words, *(["--private"] if music.hub_private else [])])
        raise PublishError(
            f"{error} {folder} holds the finished model; publish it later with `{command}`."
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
    """Raise without training pieces; turn evaluations off without held-out pieces."""
    if not corpus.tokens("train"):
        raise CorpusError("The corpus has no piece to train on; add MIDI files to --data.")
    if not corpus.tokens("valid"):
        _say("No piece is held out: training without evaluations keeps the last weights.")
        training.eval_strategy, training.eval_on_start = IntervalStrategy.NO, False
        training.load_best_model_at_end, training.metric_for_best_model = False, None


def _load_or_create(
    music: MusicArguments, corpus: Corpus
) -> tuple[MusicLSTMForCausalLM, MusicTokenizer]:
    if music.model == SCRATCH:
        return _new_model(music, corpus)
    model, tokenizer = load_checkpoint(music.model)
    set_dropout(model, music.dropout)
    if model.config.programs is not None:  # None: all programs
        model.config.programs = sorted({*model.config.programs, *corpus.programs()})
    return model, tokenizer


def _new_model(
    music: MusicArguments, corpus: Corpus
) -> tuple[MusicLSTMForCausalLM, MusicTokenizer]:
    tokenizer = MusicTokenizer()
    shape = {
        "hidden_size": music.hidden_size,
        "num_hidden_layers": music.num_hidden_layers,
        "dropout": music.dropout,
    }
    overrides = parse_overrides(music.config_overrides)
    if derived := sorted(_DERIVED_FIELDS & set(overrides)):
        raise ValueError(
            f"--config_overrides cannot set {derived[0]}, which is derived from the tokenizer and "
            "the pieces; leave it out."
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
            f"The network cannot be built: {(reason[2] or reason[0]).rstrip('.')}; check "
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
    frozen = freeze(model, parse_parts(music.freeze, parts, "--freeze"))
    weights = sum(p.numel() for p in model.parameters())
    _say(
        f"{weights:,} weights{f', {frozen:,} of them frozen' if frozen else ''}, "
        f"{len(tokenizer):,} tokens in the vocabulary, {windows.tokens:,} tokens per epoch"
    )
    valid = corpus.tokens("valid")
    trainer = StatefulTrainer(
        model,
        training,
        windows,
        tokenizer=tokenizer,
        held_out_pieces=valid,
        ema_decay=music.ema_decay,
        rates=parse_rates(music.layer_learning_rates, parts, music.layer_decay),
        callbacks=[
            SampleCallback(model, tokenizer, valid, count=music.samples, say=_say),
            LearningCurveCallback(),
            EarlyStopCallback(music.early_stopping_patience),
        ],
    )
    for default in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(default)
    trainer.add_callback(ConsoleCallback(windows.tokens / windows.updates))
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
    # Drum tracks of all pieces are read only if they are used, because that takes time.
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
    """Return the checkpoint that is given, or the newest valid one in the output folder."""
    given = training.resume_from_checkpoint
    if given is not None and str(given).lower() not in ("true", "1", "yes"):
        return require_valid(Path(given))
    return latest_valid_checkpoint(Path(str(training.output_dir)), _say)


def _facts(
    music: MusicArguments,
    training: TrainingArguments,
    trainer: StatefulTrainer,
    tokenizer: MusicTokenizer,
    corpus: Corpus,
    seconds: float,
) -> dict[str, Any]:
    """Return the record of this run, and of the runs that it builds on."""
    run = {
        "command": "training.finetune",
        "from": clean_text(_model_name(music.model)),
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
    base = _base_folder(music.model)
    facts: dict[str, Any] = {
        "parameters": sum(p.numel() for p in trainer.network.parameters()),
        "vocabulary": len(tokenizer),
        "data": corpus.summary(),
        "left_out": len(corpus.skipped),
        "runs": [*([] if base is None else read_facts(base).get("runs", [])), run],
    }
    network = export_copy(trainer.network)  # as it will be loaded
    torch.nn.Module.to(network, training.device)
    for split in ("valid", "test"):
        pieces = corpus.tokens(split)
        if pieces:
            facts[split] = measure_bits(network, tokenizer, pieces).facts()
    return facts


def _base_folder(model: str) -> Path | None:
    """Return the folder of the weights from which training starts; None: from scratch."""
    return None if model == SCRATCH else find_checkpoint(model)


def _model_name(model: str) -> str:
    """Return the name of a model without the path on this machine: a folder's name or a Hub id."""
    return Path(model).name if model == SCRATCH or Path(model).is_dir() else model


def _tokens_per_step(trainer: StatefulTrainer, training: TrainingArguments) -> int:
    rows = training.train_batch_size * training.gradient_accumulation_steps * training.world_size
    return round(rows * trainer.windows.tokens / len(trainer.windows))


def _summary(facts: dict[str, Any]) -> str:
    before = facts["runs"][-1]["valid_before"]
    found = [
        f"{split} {facts[split]['bits_per_note']:.3f} bits per note"
        + (f" ({before:.3f} before)" if split == "valid" and before is not None else "")
        for split in ("valid", "test")
        if split in facts
    ]
    return ", ".join(found) or "not evaluated, because no pieces are held out"


def printable(text: str) -> str:
    """Remove control characters, because names of files may hold terminal commands."""
    return "".join(c for c in text if c == "\n" or unicodedata.category(c)[0] != "C")


def _say(text: str) -> None:
    if os.environ.get("RANK", "0") != "0":
        return  # only the first process prints
    sys.stdout.write(printable(text) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    keep_freed_memory()
    sys.exit(run_command(main))
