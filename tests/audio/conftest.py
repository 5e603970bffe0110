"""The installed SoundFont, for tests that render samples."""

from __future__ import annotations

from pathlib import Path

import pytest

from musiclstm.audio.soundfonts import find_soundfont
from musiclstm.audio.synthesizer import Synth
from musiclstm.errors import RenderError


@pytest.fixture(scope="session")
def soundfont() -> Path:
    try:
        with Synth(path := find_soundfont()):
            return path
    except RenderError as error:
        pytest.skip(f"FluidSynth or a SoundFont is missing: {error}")
