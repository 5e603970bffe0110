"""Files of a model repository, made from a checkpoint: weights, code, facts, samples, model card.

Only known files are copied, so that no optimizer state and no pickle is published. The code is that
of this library, not of the checkpoint folder.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import musiclstm.model
from hub.model_card import CURVE_FILE, write_card
from hub.pianoroll_png import draw_png
from musiclstm.audio import render
from musiclstm.errors import MusicLSTMError, RenderError
from musiclstm.examples import example_files
from musiclstm.export import pianoroll_svg
from musiclstm.generation import Composer, Composition, Sampling
from musiclstm.model import (
    BAR_SCORE_FILE,
    FACTS_FILE,
    MEMORIZATION_FILE,
    WEIGHTS_FILE,
    load_checkpoint,
    read_facts,
)
from musiclstm.tokens import TOKENIZER_FILE

CONFIG_FILE = "config.json"
CODE_FILES = (
    *("config_fields.py", "configuration_musiclstm.py"),
    *("modeling_musiclstm.py", "step_features.py"),
)
AUTO_MAP = {
    "AutoConfig": "configuration_musiclstm.MusicLSTMConfig",
    "AutoModel": "modeling_musiclstm.MusicLSTMModel",
    "AutoModelForCausalLM": "modeling_musiclstm.MusicLSTMForCausalLM",
}
SAMPLES_FOLDER, SAMPLE_BARS, PROMPT_BARS = "samples", 16, 8
MAX_SAMPLES = len(example_files())

_REQUIRED_FILES = (WEIGHTS_FILE, TOKENIZER_FILE)
_OPTIONAL_FILES = ("generation_config.json", CURVE_FILE, BAR_SCORE_FILE, MEMORIZATION_FILE)


def write_bundle(
    checkpoint: Path,
    folder: Path,
    *,
    name: str,
    base_url: str,
    license: str,
    base_model: str | None,
    samples: int,
    log: Callable[[str], None],
) -> None:
    """Write all files of a model repository into an empty folder.

    Args:
        checkpoint: A folder that training wrote, or the bundled one.
        folder: Exists and is empty.
        name: Hub id of the repository.
        base_url: Address of its files.
        license: Of the weights, as an identifier of the Hub.
        base_model: Hub id of the model that was fine-tuned. None: as in facts.json.
        samples: Number of pieces to compose, 0 to `MAX_SAMPLES`.
        log: Receives a line for everything that is left out.

    Raises:
        CheckpointError: The checkpoint cannot be loaded.
        OSError: A file cannot be read or written.
    """
    loaded = load_checkpoint(checkpoint)  # refuses a checkpoint that users could not load
    composer = Composer(*loaded, name=name)  # the recipes of the samples contain the name
    optional = [file for file in _OPTIONAL_FILES if (checkpoint / file).is_file()]
    for file in [*_REQUIRED_FILES, *optional]:
        shutil.copyfile(checkpoint / file, folder / file)
    for file in CODE_FILES:
        shutil.copyfile(Path(musiclstm.model.__file__).with_name(file), folder / file)
    config = json.loads((checkpoint / CONFIG_FILE).read_text(encoding="utf-8"))
    config.pop("_name_or_path", None)  # a path of this machine
    _write_json(folder / CONFIG_FILE, config | {"auto_map": AUTO_MAP})
    facts = read_facts(checkpoint) | {"samples": _write_samples(composer, folder, samples, log)}
    _write_json(folder / FACTS_FILE, facts)
    write_card(folder, name=name, license=license, base_model=base_model, base_url=base_url)


def _write_json(path: Path, record: dict[str, Any]) -> None:
    text = json.dumps(record, indent=2, ensure_ascii=False, sort_keys=path.name == CONFIG_FILE)
    path.write_text(text + "\n", encoding="utf-8")


def _write_samples(
    composer: Composer, folder: Path, count: int, log: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Continue the first example files, each with a fixed random seed, and return their facts."""
    if count:
        (folder / SAMPLES_FOLDER).mkdir()
    samples = []
    for number, (title, prompt) in enumerate(list(example_files().items())[:count], start=1):
        name = f"{number:02d}-{prompt.stem.replace('_', '-')}"
        try:
            piece = composer.compose(
                bars=SAMPLE_BARS,
                prompt=prompt,
                prompt_bars=PROMPT_BARS,
                sampling=Sampling(seed=number),
            )
        except (MusicLSTMError, ValueError) as error:
            log(f"There is no sample {name}: {error}")
            continue
        files = _write_sample(piece, folder, f"{SAMPLES_FOLDER}/{name}", log)
        source = f"the first {PROMPT_BARS} bars of {title}"
        samples.append({"name": name, "source": source, "random_seed": number, "files": files})
    return samples


def _write_sample(
    piece: Composition, folder: Path, stem: str, log: Callable[[str], None]
) -> dict[str, str]:
    piece.save_midi(folder / f"{stem}.mid")
    files = {"midi": f"{stem}.mid", "roll": _write_pianoroll(piece, folder, stem)}
    try:
        render(piece.score).save(folder / f"{stem}.mp3")
    except RenderError as error:
        log(f"{stem}.mid has no audio: {error}")
        return files
    return files | {"sound": f"{stem}.mp3"}


def _write_pianoroll(piece: Composition, folder: Path, stem: str) -> str:
    try:
        draw_png(piece, folder / f"{stem}.png")
    except ImportError:
        svg = pianoroll_svg(piece.score, prompt_end_tick=piece.prompt_end_tick)
        (folder / f"{stem}.svg").write_text(svg, encoding="utf-8")
        return f"{stem}.svg"
    return f"{stem}.png"
