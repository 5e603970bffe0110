"""Search for SoundFonts, and the advice where something is missing."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from musiclstm.audio import soundfonts
from musiclstm.audio.soundfonts import find_soundfont, installed_soundfonts
from musiclstm.errors import SoundfontNotFoundError


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A machine with two empty SoundFont folders and Debian's package manager."""
    monkeypatch.delenv(soundfonts.SOUNDFONT_VARIABLE, raising=False)
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    monkeypatch.setattr(soundfonts, "_SOUNDFONT_FOLDERS", (str(one), str(two), str(tmp_path / "3")))
    monkeypatch.setattr(shutil, "which", lambda program: program if program == "apt-get" else None)
    return one, two


def test_they_are_listed_by_name_the_best_first(folders: tuple[Path, Path]):
    one, two = folders
    files = [one / "zither.SF2", two / "FluidR3_GM.sf2", one / "TimGM6mb.sf2", two / "notes.txt"]
    for file in files:
        file.write_text(file.name)
    listed = {"FluidR3_GM": files[1], "TimGM6mb": files[2], "zither": files[0]}
    assert list(installed_soundfonts().items()) == list(listed.items())
    assert find_soundfont() == files[1]
    assert find_soundfont("zither") == files[0]


def test_a_file_with_two_names_is_listed_once(folders: tuple[Path, Path]):
    one, two = folders
    (one / "TimGM6mb.sf2").touch()
    (two / "default-GM.sf2").symlink_to(one / "TimGM6mb.sf2")
    assert list(installed_soundfonts()) == ["TimGM6mb"]


def test_a_broken_link_is_skipped(folders: tuple[Path, Path]):
    (folders[0] / "gone.sf2").symlink_to("nowhere.sf2")
    assert installed_soundfonts() == {}


def test_of_two_files_with_one_name_the_first_folder_wins(folders: tuple[Path, Path]):
    for folder in folders:
        (folder / "grand.sf2").touch()
    assert installed_soundfonts() == {"grand": folders[0] / "grand.sf2"}


def test_the_environment_variable_comes_first(
    folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (folders[0] / "FluidR3_GM.sf2").touch()
    own = tmp_path / "mine.sf3"
    own.touch()
    monkeypatch.setenv(soundfonts.SOUNDFONT_VARIABLE, str(own))
    assert next(iter(installed_soundfonts().items())) == ("mine", own)
    assert find_soundfont() == own


def test_an_environment_variable_with_a_missing_file_is_an_error(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
):
    (folders[0] / "FluidR3_GM.sf2").touch()
    monkeypatch.setenv(soundfonts.SOUNDFONT_VARIABLE, "gone.sf2")
    with pytest.raises(SoundfontNotFoundError, match=r"gone\.sf2"):
        find_soundfont()


def test_a_path_is_used_as_it_is(folders: tuple[Path, Path]):
    path = folders[0] / "grand.bin"
    path.touch()
    assert find_soundfont(path) == find_soundfont(str(path)) == path


def test_a_missing_file_or_a_folder_is_named_with_advice(folders: tuple[Path, Path]):
    for path in ("zither", folders[0]):
        with pytest.raises(SoundfontNotFoundError) as refusal:
            find_soundfont(path)
        assert f"'{path}'" in str(refusal.value)
        assert "MUSICLSTM_SOUNDFONT, or: apt install fluid-soundfont-gm" in str(refusal.value)


@pytest.mark.parametrize(
    ("program", "advice"),
    [
        ("dnf", "dnf install fluid-soundfont-gm"),
        ("pacman", "pacman -S soundfont-fluid"),
        ("brew", "/Library/Audio/Sounds/Banks"),
        ("choco", r"C:\soundfonts"),
        ("none of these", "/usr/local/share/soundfonts"),
    ],
)
def test_the_advice_fits_the_package_manager(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, program: str, advice: str
):
    monkeypatch.setattr(shutil, "which", lambda name: name if name == program else None)
    with pytest.raises(SoundfontNotFoundError) as refusal:
        find_soundfont()
    assert str(refusal.value).endswith(advice)
