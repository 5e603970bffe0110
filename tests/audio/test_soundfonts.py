"""The SoundFonts that can be chosen: plain names, the best first, never a path."""

from __future__ import annotations

from pathlib import Path

import pytest

from musiclstm.audio import soundfonts as soundfont
from musiclstm.audio.soundfonts import find_soundfont, soundfonts
from musiclstm.errors import SoundfontNotFoundError


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A machine with two SoundFont folders and nothing else."""
    monkeypatch.delenv(soundfont.SOUNDFONT_VARIABLE, raising=False)
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    monkeypatch.setattr(soundfont, "_SOUNDFONT_FOLDERS", (str(one), str(two)))
    return one, two


def test_they_are_listed_by_plain_names_the_best_first(folders: tuple[Path, Path]):
    one, two = folders
    files = [one / "zither.sf2", two / "FluidR3_GM.sf2", one / "TimGM6mb.SF2", two / "notes.txt"]
    for file in files:
        file.write_text(file.name)
    assert soundfonts() == {"FluidR3_GM": files[1], "TimGM6mb": files[2], "zither": files[0]}
    assert all("/" not in name for name in soundfonts())


def test_one_file_under_two_names_is_listed_once(folders: tuple[Path, Path]):
    one, two = folders
    (one / "TimGM6mb.sf2").touch()
    (two / "default-GM.sf2").symlink_to(one / "TimGM6mb.sf2")
    assert list(soundfonts()) == ["TimGM6mb"]


def test_a_link_that_leads_nowhere_is_passed_over(folders: tuple[Path, Path]):
    (folders[0] / "gone.sf2").symlink_to("nowhere.sf2")
    assert soundfonts() == {}


def test_of_two_files_of_one_name_the_first_folder_wins(folders: tuple[Path, Path]):
    for folder in folders:
        (folder / "grand.sf2").touch()
    assert soundfonts() == {"grand": folders[0] / "grand.sf2"}


def test_ones_own_comes_first(
    folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (folders[0] / "FluidR3_GM.sf2").touch()
    own = tmp_path / "mine.sf3"
    own.touch()
    monkeypatch.setenv(soundfont.SOUNDFONT_VARIABLE, str(own))
    assert next(iter(soundfonts().items())) == ("mine", own)


def test_a_name_of_the_list_is_found(folders: tuple[Path, Path]):
    for name in ("FluidR3_GM", "zither"):
        (folders[0] / f"{name}.sf2").touch()
    assert find_soundfont("zither") == folders[0] / "zither.sf2"


def test_a_name_that_is_not_on_the_list_is_refused(folders: tuple[Path, Path]):
    with pytest.raises(SoundfontNotFoundError, match=r"^No SoundFont at 'zither'"):
        find_soundfont("zither")
