"""Search for installed SoundFonts, and commands that install one."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import NamedTuple

from musiclstm.errors import SoundfontNotFoundError

SOUNDFONT_VARIABLE = "MUSICLSTM_SOUNDFONT"


class InstallCommands(NamedTuple):
    """How to install the FluidSynth library and a SoundFont with one package manager."""

    library: str
    soundfont: str


_COMMANDS = {
    "apt-get": InstallCommands("apt install libfluidsynth3", "apt install fluid-soundfont-gm"),
    "dnf": InstallCommands("dnf install fluidsynth-libs", "dnf install fluid-soundfont-gm"),
    "pacman": InstallCommands("pacman -S fluidsynth", "pacman -S soundfont-fluid"),
    "brew": InstallCommands(
        "brew install fluid-synth",
        "put a General MIDI .sf2 file into /Library/Audio/Sounds/Banks",
    ),
    "choco": InstallCommands(
        "choco install fluidsynth", r"put a General MIDI .sf2 file into C:\soundfonts"
    ),
}
_OTHER_COMMANDS = InstallCommands(
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
# Parts of file names, the best General MIDI set first.
_PREFERENCE = ("fluidr3_gm", "musescore_general", "generaluser", "fluidr3", "timgm6mb", "gm")


def installed_soundfonts() -> dict[str, Path]:
    """Return the installed SoundFonts by name (the file name without its ending), the best first.

    A file with several names or links is listed once. The file in MUSICLSTM_SOUNDFONT comes before
    those of the usual system folders.
    """
    found: dict[str, Path] = {}
    targets: set[Path] = set()
    for file in _soundfont_files():
        if file.resolve() not in targets:
            targets.add(file.resolve())
            found.setdefault(file.stem, file)
    return found


def find_soundfont(soundfont: str | Path | None = None) -> Path:
    """Return the SoundFont file to use.

    Args:
        soundfont: A name from `installed_soundfonts()`, or an .sf2 or .sf3 file. None:
            MUSICLSTM_SOUNDFONT, then the usual system folders of Debian, Fedora, Arch, macOS and
            Windows, the best set first.

    Raises:
        SoundfontNotFoundError: There is none at that path, or none on this machine.
    """
    requested = soundfont or os.environ.get(SOUNDFONT_VARIABLE)
    if requested:
        found: Path | None = installed_soundfonts().get(str(requested), Path(requested))
    else:
        found = next(iter(installed_soundfonts().values()), None)
    if found and found.is_file():
        return found
    where = f"at '{requested}'" if requested else "on this machine"
    raise SoundfontNotFoundError(
        f"No SoundFont {where}. Pass soundfont=…, set {SOUNDFONT_VARIABLE}, or: "
        f"{install_commands().soundfont}"
    )


def _soundfont_files() -> list[Path]:
    folders = [Path(folder) for folder in _SOUNDFONT_FOLDERS if Path(folder).is_dir()]
    files = [file for folder in folders for file in folder.iterdir() if file.is_file()]
    installed = sorted((f for f in files if f.suffix.lower() in (".sf2", ".sf3")), key=_rank)
    own = Path(os.environ.get(SOUNDFONT_VARIABLE) or "nowhere")
    return [own, *installed] if own.is_file() else installed


def _rank(soundfont: Path) -> tuple[int, str]:
    name = soundfont.name.lower()
    ranks = [rank for rank, best in enumerate(_PREFERENCE) if best in name]
    return min(ranks, default=len(_PREFERENCE)), name


def install_commands() -> InstallCommands:
    """Return the commands for the package manager of this machine."""
    present = (each for program, each in _COMMANDS.items() if shutil.which(program))
    return next(present, _OTHER_COMMANDS)
