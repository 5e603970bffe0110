"""What pieces and sound show in a notebook."""

from __future__ import annotations

import base64
import io
import re
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
import soundfile
from symusic import Note, Score, Track

from musiclstm import Audio, RenderError, Sampling
from musiclstm.notebook import MAX_BARS, piece_html

NAME = '"><script>alert(1)</script>&'


class Elements(HTMLParser):
    """Names of the elements, in their order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append(tag)


def sound_of(html):
    """Decode the sound of the player."""
    (data,) = re.findall(r'src="data:audio/\w+;base64,([^"]+)"', html)
    return soundfile.read(io.BytesIO(base64.b64decode(data)))


def noise(seconds, *, sample_rate_hz):
    samples = np.random.default_rng(0).uniform(-0.1, 0.1, (seconds * sample_rate_hz, 2))
    return Audio(samples.astype(np.float32), sample_rate_hz)


def score_of(bars, name="Piano"):
    score, track = Score(480), Track(name, 0, False)
    track.notes.extend([Note(1920 * bar, 480, 60, 90) for bar in range(bars)])
    score.tracks.append(track)
    return score


@pytest.fixture
def silent(monkeypatch):
    """Replace the renderer, which is slow for many bars."""

    def render(score):
        raise RenderError("No SoundFont <here>.")

    monkeypatch.setattr("musiclstm.notebook.render", render)


@pytest.mark.fluidsynth
def test_a_composition_shows_its_roll_and_a_player(tiny_composer):
    piece = tiny_composer.compose(bars=2, sampling=Sampling(seed=7))
    html = piece._repr_html_()
    elements = Elements(html).found
    assert (elements.count("audio"), elements.count("svg") > 0) == (1, True)
    assert "2 new bars, random seed 7" in html
    samples, rate = sound_of(html)
    assert len(samples) / rate > 3
    assert abs(samples).max() > 0.01
    assert len(html) < 1_000_000


@pytest.mark.parametrize("sample_rate_hz", [44_100, 96_000])
def test_audio_shows_a_player(sample_rate_hz):
    html = noise(2, sample_rate_hz=sample_rate_hz)._repr_html_()
    samples, rate = sound_of(html)
    assert rate == sample_rate_hz
    assert len(samples) / rate == pytest.approx(2, abs=0.1)
    assert repr(noise(2, sample_rate_hz=8_000)) == "Audio(sample_rate_hz=8000)"


def test_a_player_holds_at_most_five_minutes():
    html = noise(360, sample_rate_hz=8_000)._repr_html_()
    samples, rate = sound_of(html)
    assert len(samples) / rate == pytest.approx(300, abs=1)
    assert "The first 5 of 6 minutes." in html
    assert len(html) < 10_000_000


def test_no_sound_is_a_sentence():
    html = Audio(np.zeros((0, 2), np.float32), 44_100)._repr_html_()
    assert "There is no sound" in html
    assert "<audio" not in html


@pytest.mark.usefixtures("silent")
def test_names_and_errors_are_escaped():
    html = piece_html(score_of(2, NAME), new_start_tick=1920, title=NAME)
    assert "script" not in Elements(html).found
    assert "<p>No SoundFont &lt;here&gt;.</p>" in html


@pytest.mark.usefixtures("silent")
@pytest.mark.parametrize(
    ("bars", "new_from", "shown"),
    [
        (20, 20, "bars 5 to 20"),
        (1000, 500, "bars 485 to 612"),
        (1000, None, "bars 1 to 128"),
        (40, 39, "bars 24 to 40"),
    ],
)
def test_long_pieces_are_shown_in_part(bars, new_from, shown):
    start = None if new_from is None else 1920 * new_from
    html = piece_html(score_of(bars), new_start_tick=start, title="piece")
    (caption,) = re.findall("<p>(piece.*?)</p>", html)
    assert caption == f"piece; {shown} are shown"
    assert html.count("<path") <= 128
    assert MAX_BARS == 128


@pytest.mark.usefixtures("silent")
def test_a_short_piece_is_shown_whole():
    assert "<p>piece</p>" in piece_html(score_of(20), new_start_tick=None, title="piece")


def test_nothing_is_imported_for_notebooks_before_one_asks():
    code = (
        "import sys, musiclstm; from musiclstm import Composition, Audio; "
        "assert 'musiclstm.notebook' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
