"""The SoundFonts of this machine: found, listed, and asked for in words where there is none.

Knows no score and plays nothing.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import NamedTuple

from musiclstm.errors import SoundfontNotFoundError

SOUNDFONT_VARIABLE = "MUSICLSTM_SOUNDFONT"


class Packages(NamedTuple):
    """How a package manager brings what we need."""

    library: str
    soundfont: str


_PACKAGES = {
    "apt-get": Packages("apt install libfluidsynth3", "apt install fluid-soundfont-gm"),
    "dnf": Packages("dnf install fluidsynth-libs", "dnf install fluid-soundfont-gm"),
    "pacman": Packages("pacman -S fluidsynth", "pacman -S soundfont-fluid"),
    "brew": Packages(
        "brew install fluid-synth",
        "put a General MIDI .sf2 file into /Library/Audio/Sounds/Banks",
    ),
    "choco": Packages(
        "choco install fluidsynth", r"put a General MIDI .sf2 file into C:\soundfonts"
    ),
}
_ELSEWHERE = Packages(
    "see fluidsynth.org/download", "put a General MIDI .sf2 file into /usr/local/share/soundfonts"
)

_SOUNDFONT_FOLDERS = (
    "/usr/share/sounds/sf2",  # Debian, Ubuntu
    "/usr/share/sounds/sf3",
    "/usr/share/soundfonts",  # Fedora, Arch
    "/usr/local/share/soundfonts",
    "/Library/Audio/Sounds/Banks",  # macOS
    "/opt/homebrew/share/soundfonts",
    "/opt/homebrew/share/fluid-synth/sf2",
    "/usr/local/share/fluid-synth/sf2",
    r"C:\soundfonts",
    r"C:\tools\fluidsynth\share\soundfonts",
)
# Where several are installed, the best General MIDI set first.
_BEST_SOUNDFONTS = ("fluidr3_gm", "musescore_general", "generaluser", "fluidr3", "timgm6mb", "gm")


def soundfonts() -> dict[str, Path]:
    """The SoundFonts that are installed, the best first: plain name -> file.

    The name is that of the file without its ending, and can be shown to anyone. A file that goes
    by several names is listed once. MUSICLSTM_SOUNDFONT comes before the usual system folders.
    """
    found: dict[str, Path] = {}
    seen: set[Path] = set()
    for file in _installed_soundfonts():
        if file.resolve() not in seen:
            seen.add(file.resolve())
            found.setdefault(file.stem, file)
    return found


def find_soundfont(soundfont: str | Path | None = None) -> Path:
    """The SoundFont to play with.

    Args:
        soundfont: A name that `soundfonts()` lists, or an .sf2 or .sf3 file. None:
            MUSICLSTM_SOUNDFONT, then the usual system folders of Debian, Fedora, Arch, macOS and
            Windows, the best set first.

    Raises:
        SoundfontNotFoundError: No SoundFont where asked, or none anywhere.
    """
    named = soundfont or os.environ.get(SOUNDFONT_VARIABLE)
    if named:
        found: Path | None = soundfonts().get(str(named), Path(named))
    else:
        found = next(iter(soundfonts().values()), None)
    if found and found.is_file():
        return found
    place = f"at '{named}'" if named else "on this machine"
    raise SoundfontNotFoundError(
        f"No SoundFont {place}. Pass soundfont=…, set {SOUNDFONT_VARIABLE}, or: "
        f"{packages().soundfont}"
    )


def _installed_soundfonts() -> list[Path]:
    folders = [Path(folder) for folder in _SOUNDFONT_FOLDERS if Path(folder).is_dir()]
    files = [file for folder in folders for file in folder.iterdir() if file.is_file()]
    installed = sorted((f for f in files if f.suffix.lower() in (".sf2", ".sf3")), key=_preference)
    own = Path(os.environ.get(SOUNDFONT_VARIABLE) or "nowhere")
    return [own, *installed] if own.is_file() else installed


def _preference(soundfont: Path) -> tuple[int, str]:
    name = soundfont.name.lower()
    ranks = [rank for rank, best in enumerate(_BEST_SOUNDFONTS) if best in name]
    return min(ranks, default=len(_BEST_SOUNDFONTS)), name


def packages() -> Packages:
    """How to install things here, by the package manager that is here."""
    present = (each for program, each in _PACKAGES.items() if shutil.which(program))
    return next(present, _ELSEWHERE)
