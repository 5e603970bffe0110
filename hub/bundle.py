"""A checkpoint folder becomes what is published of it: weights, code, facts, samples, card.

Takes what it knows by name and nothing else, so that no optimizer state and no pickle travels. The
code is that of this library, not what lies in the folder. Asks no Hub and sends nothing.
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
from musiclstm.model import FACTS_FILE, WEIGHTS_FILE, load_checkpoint, read_facts
from musiclstm.tokens import TOKENIZER_FILE

CONFIG_FILE = "config.json"
CODE_FILES = ("configuration_musiclstm.py", "modeling_musiclstm.py", "step_features.py")
AUTO_MAP = {
    "AutoConfig": "configuration_musiclstm.MusicLSTMConfig",
    "AutoModel": "modeling_musiclstm.MusicLSTMModel",
    "AutoModelForCausalLM": "modeling_musiclstm.MusicLSTMForCausalLM",
}
SAMPLES_FOLDER, SAMPLE_BARS, PROMPT_BARS = "samples", 16, 8
MAX_SAMPLES = len(example_files())

_COPIED = (WEIGHTS_FILE, TOKENIZER_FILE)
_COPIED_IF_THERE = ("generation_config.json", CURVE_FILE)


def assemble(
    checkpoint: Path,
    folder: Path,
    *,
    name: str,
    home: str,
    license: str,
    base_model: str | None,
    samples: int,
    say: Callable[[str], None],
) -> None:
    """Fill an empty folder with everything that belongs on the Hub.

    Args:
        checkpoint: What training wrote, or the bundled one.
        folder: Exists.
        name: The Hub id it will have.
        home: The address under which its files will be read.
        license: Of the weights, as the Hub spells it.
        base_model: The Hub id of what it began from; None: what its facts say.
        samples: How many pieces to compose, 0 to `MAX_SAMPLES`.
        say: Is told what is missing.

    Raises:
        CheckpointError: The checkpoint cannot be loaded.
        OSError: Something cannot be read or written.
    """
    pair = load_checkpoint(checkpoint)  # refuses what nobody could load
    composer = Composer(*pair, name=name)  # what recipes inside the samples will call it
    for file in [*_COPIED, *(f for f in _COPIED_IF_THERE if (checkpoint / f).is_file())]:
        shutil.copyfile(checkpoint / file, folder / file)
    for file in CODE_FILES:
        shutil.copyfile(Path(musiclstm.model.__file__).with_name(file), folder / file)
    config = json.loads((checkpoint / CONFIG_FILE).read_text(encoding="utf-8"))
    config.pop("_name_or_path", None)  # a folder of this machine
    _write(folder / CONFIG_FILE, config | {"auto_map": AUTO_MAP})
    facts = read_facts(checkpoint) | {"samples": _samples(composer, folder, samples, say)}
    _write(folder / FACTS_FILE, facts)
    write_card(folder, name=name, license=license, base_model=base_model, home=home)


def _write(path: Path, record: dict[str, Any]) -> None:
    text = json.dumps(record, indent=2, ensure_ascii=False, sort_keys=path.name == CONFIG_FILE)
    path.write_text(text + "\n", encoding="utf-8")


# Samples ------------------------------------------------------------------------------------------


def _samples(
    composer: Composer, folder: Path, count: int, say: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Compose from the first tunes that come with the library, each with the same random seed."""
    if count:
        (folder / SAMPLES_FOLDER).mkdir()
    made = []
    for number, (title, tune) in enumerate(list(example_files().items())[:count], start=1):
        name = f"{number:02d}-{tune.stem.replace('_', '-')}"
        try:
            piece = composer.compose(
                bars=SAMPLE_BARS,
                prompt=tune,
                prompt_bars=PROMPT_BARS,
                sampling=Sampling(seed=number),
            )
        except (MusicLSTMError, ValueError) as error:
            say(f"There is no sample {name}: {error}")
            continue
        files = _sample_files(piece, folder, f"{SAMPLES_FOLDER}/{name}", say)
        source = f"the first {PROMPT_BARS} bars of {title}"
        made.append({"name": name, "source": source, "random_seed": number, "files": files})
    return made


def _sample_files(
    piece: Composition, folder: Path, stem: str, say: Callable[[str], None]
) -> dict[str, str]:
    piece.save_midi(folder / f"{stem}.mid")
    files = {"midi": f"{stem}.mid", "roll": _roll(piece, folder, stem)}
    try:
        render(piece.score).save(folder / f"{stem}.mp3")
    except RenderError as error:
        say(f"{stem}.mid has no sound: {error}")
        return files
    return files | {"sound": f"{stem}.mp3"}


def _roll(piece: Composition, folder: Path, stem: str) -> str:
    try:
        draw_png(piece, folder / f"{stem}.png")
    except ImportError:
        picture = pianoroll_svg(piece.score, prompt_end_tick=piece.prompt_end_tick)
        (folder / f"{stem}.svg").write_text(picture, encoding="utf-8")
        return f"{stem}.svg"
    return f"{stem}.png"
