"""What the page does, without a browser: handlers in this process, visitors through the client."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterable
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

import app
from musiclstm import (
    Audio,
    Composer,
    RenderError,
    Sampling,
    ScoreError,
    SoundfontNotFoundError,
    bundled_seeds,
    read_midi,
)
from musiclstm.analysis import bar_starts, last_note_end

# Gradio's queue makes statistics of its events, with words that pandas is about to drop.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:gradio.queueing")

HOSTILE = '<img src=x onerror="window.hacked = true">'
TUNES = bundled_seeds()
FILES = ("whole_midi", "new_midi", "wav", "mp3")


@pytest.fixture
def quick_sound(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second of noise for every score, so that no FluidSynth is needed."""
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (8_000, 2)).astype(np.float32)
    monkeypatch.setattr(app, "render", lambda score: Audio(noise, 8_000))


@pytest.fixture(scope="module")
def seed() -> app.Seed:
    return app.read_seed(TUNES["Minuet in G (Petzold)"], "Minuet")[0]


class Watcher:
    """What a visitor has seen: texts, rolls, and the files as they were when they were offered."""

    def __init__(self, events: Iterable[app.Shown]) -> None:
        self.texts: list[str] = []
        self.rolls: list[str] = []
        self.files: dict[str, bytes] = {}
        self.names: dict[str, str] = {}
        self.take: app.Take | None = None
        for shown in events:
            self.look(shown._asdict())

    def look(self, shown: dict[str, Any]) -> None:
        changed = {name: value for name, value in shown.items() if value != gr.skip()}
        self.take = changed.get("take", self.take)
        self.texts += [text_of(changed["status"])] if "status" in changed else []
        self.rolls += [changed["roll"]] if "roll" in changed else []
        for name in FILES:
            if path := changed.get(name, {}).get("value"):
                self.files[name], self.names[name] = Path(path).read_bytes(), Path(path).name


class _Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []
        self.tags: set[str] = set()

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.add(tag)


def text_of(html: str) -> str:
    parser = _Text()
    parser.feed(html)
    return " ".join(" ".join(parser.words).split())


def tags_of(html: str) -> set[str]:
    parser = _Text()
    parser.feed(html)
    return parser.tags


def continued(composer: Any, seed: app.Seed, *, bars: int = 2, random_seed: Any = 7) -> Watcher:
    return Watcher(app.compose(composer, seed, bars, 1.0, random_seed))


# -- The seed --------------------------------------------------------------------------------------


def test_at_least_four_seeds_wait_with_names_and_pictures() -> None:
    assert len(TUNES) >= 4
    for title, file in TUNES.items():
        seed, report, picture = app.read_seed(file, title)
        assert seed.title == title
        assert text_of(report).startswith(title)
        assert picture.startswith("<svg")


def test_a_seed_is_described_in_plain_words() -> None:
    _, report, _ = app.read_seed(TUNES["Minuet in G (Petzold)"], "Minuet")
    assert text_of(report) == (
        "Minuet 8 bars of 3/4 at 116 bpm in G major "
        "Right hand (Acoustic Grand Piano): 32 notes, F#4 to G5 "
        "Left hand (Acoustic Grand Piano): 17 notes, D3 to D4"
    )


def test_a_dropped_file_is_called_by_its_own_name(midi_file: Callable[..., Path]) -> None:
    seed, report, _ = app.read_seed(midi_file("motif.mid"))
    assert seed.title == "motif.mid"
    assert text_of(report).startswith("motif.mid 4 bars of 4/4 at 120 bpm")


def test_what_was_put_right_is_told(midi_file: Callable[..., Path]) -> None:
    whole = midi_file("cut.mid", bars=8)
    whole.write_bytes(whole.read_bytes()[:-60])
    _, report, _ = app.read_seed(whole)
    _, expected = read_midi(whole)
    assert expected.repairs
    assert text_of(report).endswith(f"We {expected.repairs[-1]}.")


BAD_FILES = {
    "text": (b"Dear diary, nothing happened today.", "is not a MIDI file"),
    "empty": (b"", "is empty"),
    "truncated": (TUNES["Minuet in G (Petzold)"].read_bytes()[:60], "breaks off after 60 of"),
    "without notes": (b"MThd\0\0\0\6\0\0\0\1\1\xe0MTrk\0\0\0\4\0\xff\x2f\0", "has no notes"),
}


@pytest.fixture(params=BAD_FILES)
def bad_file(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, str]:
    """A file that cannot be used, and words of the sentence that says so."""
    content, words = BAD_FILES[request.param]
    path = tmp_path / "bad.mid"
    path.write_bytes(content)
    return path, words


def test_a_bad_file_is_answered_with_one_sentence(bad_file: tuple[Path, str]) -> None:
    path, words = bad_file
    with pytest.raises(ScoreError) as ours:
        read_midi(path)
    with pytest.raises(gr.Error) as shown:
        app.read_seed(path)
    assert unescape(shown.value.message) == str(ours.value)
    assert words in shown.value.message
    assert "\n" not in shown.value.message
    assert shown.value.message.endswith(".")
    assert not shown.value.print_exception


def test_markup_in_a_file_stays_text(midi_file: Callable[..., Path]) -> None:
    seed, report, picture = app.read_seed(midi_file("tracks.mid", tracks=(HOSTILE,)), HOSTILE)
    assert seed.title == HOSTILE
    assert text_of(report).count("<img src=x onerror=") == 2
    assert "img" not in tags_of(report) | tags_of(picture)


def test_markup_in_a_sentence_stays_text(tmp_path: Path) -> None:
    path = tmp_path / "<b>bold<.mid"
    path.write_bytes(b"<i>tilted")
    with pytest.raises(gr.Error) as shown:
        app.read_seed(path)
    assert tags_of(shown.value.message) == set()
    assert "<b>bold<.mid" in text_of(shown.value.message)


# -- Composing -------------------------------------------------------------------------------------


@pytest.mark.usefixtures("quick_sound")
def test_every_bar_is_told_and_the_sound_comes_last(
    tiny_composer: Composer, seed: app.Seed
) -> None:
    seen = continued(tiny_composer, seed, bars=3)
    assert seen.texts == [
        "Reading the seed …",
        "Composing: bar 1 of 3",
        "Composing: bar 2 of 3",
        "Composing: bar 3 of 3",
        "Making the sound …",
        "Making the mp3 …",
        "3 bars after 8 bars of Minuet. Random seed 7, temperature 1.",
    ]


@pytest.mark.usefixtures("quick_sound")
def test_the_roll_grows_and_ends_complete(
    tiny_composer: Composer, seed: app.Seed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "DRAW_EVERY_S", 0)
    seen = continued(tiny_composer, seed, bars=3)
    words = [re.search("continuation (.*?)</desc>", roll)[1] for roll in seen.rolls]
    assert words == ["1.", "2.", "3.", "3."]
    assert 'class="seed"' in seen.rolls[0]
    assert 'class="new"' in seen.rolls[-1]


@pytest.mark.usefixtures("quick_sound")
def test_a_roll_is_not_sent_more_often_than_agreed(
    tiny_composer: Composer, seed: app.Seed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "DRAW_EVERY_S", 1e9)
    assert len(continued(tiny_composer, seed, bars=3).rolls) == 2  # the first and the last


@pytest.mark.usefixtures("quick_sound")
def test_the_files_hold_the_piece(tiny_composer: Composer, seed: app.Seed) -> None:
    seen = continued(tiny_composer, seed)
    expected = tiny_composer.compose(
        bars=2, prompt=seed.score, sampling=Sampling(temperature=1.0, seed=7)
    )
    assert seen.files["whole_midi"] == expected.to_midi()
    assert seen.files["new_midi"] == expected.to_midi(only_new=True)
    assert seen.files["wav"].startswith(b"RIFF")
    assert set(seen.files) == set(FILES)


@pytest.mark.usefixtures("quick_sound")
def test_files_have_names_of_our_making(tiny_composer: Composer, seed: app.Seed) -> None:
    assert continued(tiny_composer, app.Seed(HOSTILE, seed.score)).names == {
        "whole_midi": "musiclstm-7.mid",
        "new_midi": "musiclstm-7-new.mid",
        "wav": "musiclstm-7.wav",
        "mp3": "musiclstm-7.mp3",
    }


@pytest.mark.usefixtures("quick_sound")
@pytest.mark.parametrize("none", [None, -1])
def test_the_random_seed_that_was_drawn_is_shown(
    none: int | None, tiny_composer: Composer, seed: app.Seed
) -> None:
    seen = continued(tiny_composer, seed, bars=1, random_seed=none)
    drawn = seen.take.piece.sampling.seed
    assert drawn not in (None, -1)
    assert seen.texts[-1] == (f"1 bar after 8 bars of Minuet. Random seed {drawn}, temperature 1.")


@pytest.mark.usefixtures("quick_sound")
def test_the_shown_random_seed_makes_the_same_piece_again(
    tiny_composer: Composer, seed: app.Seed
) -> None:
    first = continued(tiny_composer, seed, random_seed=None)
    again = continued(tiny_composer, seed, random_seed=first.take.piece.sampling.seed)
    assert again.files["whole_midi"] == first.files["whole_midi"]


def test_no_note_of_the_old_piece_is_offered_while_a_new_one_is_made(
    tiny_composer: Composer, seed: app.Seed
) -> None:
    events = app.compose(tiny_composer, seed, 1, 1.0, 7)
    next(events)
    first_bar = next(events)._asdict()
    assert all(first_bar[name]["value"] is None for name in ("sound", *FILES))
    assert all(first_bar[name]["interactive"] is False for name in ("jump", *FILES))
    events.close()


def test_a_visitor_who_leaves_stops_the_work_and_leaves_no_file(
    watched: Any, seed: app.Seed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    events = app.compose(watched, seed, 64, 1.0, 7)
    for _ in range(3):
        next(events)
    events.close()
    assert watched.ended.is_set()
    assert watched.bars == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("quick_sound")
def test_our_own_copies_of_the_files_are_gone_afterwards(
    tiny_composer: Composer, seed: app.Seed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert continued(tiny_composer, seed, bars=1).files
    assert list(tmp_path.iterdir()) == []


def test_without_a_soundfont_the_midi_still_comes_and_the_sentence_is_shown(
    tiny_composer: Composer, seed: app.Seed, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent(score: Any) -> Audio:
        raise SoundfontNotFoundError("There is no SoundFont; install <one>.")

    monkeypatch.setattr(app, "render", silent)
    seen = continued(tiny_composer, seed)
    assert set(seen.files) == {"whole_midi", "new_midi"}
    assert seen.texts[-1].endswith("There is no SoundFont; install <one>.")


@pytest.mark.parametrize("after_bars", [0, 1])
def test_an_error_of_ours_while_composing_is_one_sentence(
    after_bars: int, tiny_composer: Composer, seed: app.Seed
) -> None:
    class Failing:
        def stream(self, **options: Any) -> Any:
            for piece in tiny_composer.stream(**options):
                if piece.bars > after_bars:
                    raise RenderError("The <pen> broke.")
                yield piece

    with pytest.raises(gr.Error, match="The &lt;pen&gt; broke"):
        continued(Failing(), seed)


def test_after_an_error_or_a_stop_without_a_bar_continue_can_be_pressed() -> None:
    assert [*app.finish(None)] == [app.rest(None)._replace(take=None)]
    shown = app.rest(None)
    assert "appears here" in text_of(shown.status)
    assert (shown.go["interactive"], shown.stop["interactive"]) == (True, False)
    assert shown[2:-2] == app.Shown()[2:-2]  # all else stays


@pytest.mark.usefixtures("quick_sound")
def test_stop_makes_the_files_of_what_there_is(tiny_composer: Composer, seed: app.Seed) -> None:
    piece = next(tiny_composer.stream(bars=9, prompt=seed.score, sampling=Sampling(seed=1)))
    seen = Watcher(app.finish(app.Take(piece, "Minuet")))
    assert seen.files["whole_midi"] == piece.to_midi()
    assert set(seen.files) == set(FILES)


# -- What is heard ---------------------------------------------------------------------------------


def test_a_short_seed_is_heard_whole(tiny_composer: Composer, seed: app.Seed) -> None:
    piece = tiny_composer.compose(bars=1, prompt=seed.score, sampling=Sampling(seed=1))
    assert app.heard(piece) == (piece.score, piece.seed_end_tick)


def test_of_a_long_seed_the_last_sixteen_bars_are_heard(
    tiny_composer: Composer, invented: Callable[..., Any]
) -> None:
    score = invented(bars=20)
    piece = tiny_composer.compose(bars=2, prompt=score, sampling=Sampling(seed=1))
    part, begin = app.heard(piece)
    bar = 4 * part.ticks_per_quarter
    assert begin == 16 * bar
    skipped = 4 * 4 * piece.score.ticks_per_quarter
    expected = [
        (note.time - skipped, note.pitch) for note in piece.score.tracks[0].notes
        if note.time >= skipped
    ]  # fmt: skip
    assert [(note.time, note.pitch) for note in part.tracks[0].notes] == expected
    assert len(bar_starts(part, end_tick=max(last_note_end(part), 18 * bar))) - 1 == 18
    summary = text_of(app.rest(app.Take(piece, "Long")).status)
    assert summary.startswith("2 bars after 20 bars of Long, of which you hear the last 16.")


def test_the_player_can_be_put_where_the_new_bars_begin(
    tiny_composer: Composer, seed: app.Seed
) -> None:
    piece = tiny_composer.compose(bars=1, prompt=seed.score, sampling=Sampling(seed=1))
    eight_bars_s = 8 * 3 * 60 / 116
    position = app.jump_to_new(app.Take(piece, "Minuet"))["playback_position"]
    assert position == pytest.approx(eight_bars_s, abs=1e-4)


# -- Visitors of the served page -------------------------------------------------------------------


class Visitor:
    """One session of the served page."""

    def __init__(self, url: str, folder: Path) -> None:
        self.client = Client(url, verbose=False, download_files=folder, analytics_enabled=False)

    def choose(self, title: str) -> None:
        self.client.predict(title, api_name="/choose")

    def drop(self, path: Path) -> str:
        """The report on a dropped file."""
        return text_of(self.client.predict(handle_file(str(path)), api_name="/drop")[0])

    def press_continue(self, *, bars: int = 2, random_seed: int = 7) -> bytes:
        """The whole MIDI file that is offered in the end."""
        job = self.client.submit(bars, 1.0, random_seed, api_name="/compose")
        job.result(timeout=120)
        offered = [output[3]["value"] for output in job.outputs() if output[3].get("value")]
        return Path(offered[-1]).read_bytes()

    def finish(self) -> bytes:
        """The whole MIDI file that is offered for what the visitor has."""
        job = self.client.submit(api_name="/finish")
        job.result(timeout=120)
        offered = [output[3]["value"] for output in job.outputs() if output[3].get("value")]
        return Path(offered[-1]).read_bytes()


@pytest.fixture
def visitor(page_url: str, tmp_path: Path) -> Callable[[], Visitor]:
    return lambda: Visitor(page_url, tmp_path)


@pytest.mark.usefixtures("quick_sound")
def test_two_visitors_keep_their_own_piece(
    visitor: Callable[[], Visitor], tiny_composer: Composer
) -> None:
    ann, bob = visitor(), visitor()
    ann.choose("Ode to Joy (Beethoven)")
    bob.choose("Canon in D (Pachelbel)")
    pieces = [ann.press_continue(bars=2), bob.press_continue(bars=1)]
    assert [ann.finish(), bob.finish()] == pieces
    for title, bars, piece in zip(
        ("Ode to Joy (Beethoven)", "Canon in D (Pachelbel)"), (2, 1), pieces, strict=True
    ):
        sampling = Sampling(temperature=1.0, seed=7)
        expected = tiny_composer.compose(bars=bars, prompt=TUNES[title], sampling=sampling)
        assert piece == expected.to_midi()


@pytest.mark.usefixtures("quick_sound")
def test_a_bad_file_loses_neither_the_seed_nor_the_piece(
    visitor: Callable[[], Visitor], bad_file: tuple[Path, str], midi_file: Callable[..., Path]
) -> None:
    ann = visitor()
    assert ann.drop(midi_file("motif.mid")).startswith("motif.mid")
    piece = ann.press_continue(bars=1)
    with pytest.raises(AppError, match=re.escape(bad_file[1])):
        ann.drop(bad_file[0])
    assert ann.finish() == piece
    assert ann.press_continue(bars=1) == piece


def test_a_file_beyond_two_megabytes_is_refused(
    visitor: Callable[[], Visitor], tmp_path: Path
) -> None:
    large = tmp_path / "large.mid"
    large.write_bytes(bytes(2_200_000))
    with pytest.raises(Exception, match=r"413|too large|[Mm]aximum"):
        visitor().drop(large)


@pytest.mark.parametrize("bars", [0, 65])
def test_the_number_of_bars_is_bounded_on_the_server_too(
    bars: int, visitor: Callable[[], Visitor]
) -> None:
    with pytest.raises(AppError, match=f"Value {bars} is"):
        visitor().press_continue(bars=bars)


# -- The command -----------------------------------------------------------------------------------


def test_a_missing_model_is_one_sentence_and_status_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert app.main(["--model", str(tmp_path / "nowhere")]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    assert "nowhere" in lines[0]


def test_a_taken_port_is_one_sentence_and_status_1(
    tiny_checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert app.main(["--model", str(tiny_checkpoint), "--port", str(port)]) == 1
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"error: Nothing can be served at 127.0.0.1:{port}; choose another --port or --host."
    )
