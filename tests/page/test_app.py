"""What the page does, without a browser: handlers in this process, visitors through the client."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Callable, Iterable
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

import app
from musiclstm import (
    Composer,
    Recipe,
    RenderError,
    Sampling,
    ScoreError,
    example_files,
    read_midi,
    read_recipe,
)
from page.playback.chunk_cache import ChunkCache
from page.session.prompt import PromptChoice
from page.session.session import Session
from page.ui import html as words
from page.ui.events import EventListeners, swap
from page.ui.layout import build_layout
from page.ui.prompt_cards import tiny_roll

# Gradio's queue makes statistics of its events, with words that pandas is about to drop.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:gradio.queueing")

HOSTILE = '<img src=x onerror="window.hacked = true">'
TUNES = example_files()
MINUET = "Minuet in G (Petzold)"


@pytest.fixture(autouse=True)
def _without_a_soundfont(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is heard is tested in tests/page and in the browser; here all is silent and quick."""
    monkeypatch.setenv("MUSICLSTM_SOUNDFONT", "/nowhere.sf2")


@pytest.fixture(scope="module")
def wiring_for() -> Callable[[Any], EventListeners]:
    """A page for a composer, wired as it is served."""

    def wire(composer: Any, **options: Any) -> EventListeners:
        shelf = ChunkCache()
        with gr.Blocks() as demo:
            wiring = EventListeners(build_layout(shelf, "", **options), composer, shelf)
            wiring.connect(demo)
        return wiring

    return wire


@pytest.fixture(scope="module")
def wiring(wiring_for: Callable[[Any], EventListeners], tiny_composer: Composer) -> EventListeners:
    return wiring_for(tiny_composer)


class Visitor:
    """What a visitor has and has seen, by the handlers themselves."""

    def __init__(self, wiring: EventListeners) -> None:
        self.wiring, self.page, self.desk = wiring, wiring.page, Session()
        self.controls = {name: each.value for name, each in wiring.page.controls.items()}
        self.controls |= {"soundfont": None, "bars": 2}
        self.seen: dict[Any, list[Any]] = {}

    def press(self, name: str = "go", *before: Any, **changes: Any) -> Visitor:
        for _ in self.pressing(name, *before, **changes):
            pass
        return self

    def pressing(self, name: str, *before: Any, **changes: Any) -> Iterable[None]:
        self.controls |= changes
        composing, keeping = self.wiring.composing, self.wiring.keeping
        handler = getattr(composing if hasattr(composing, name) else keeping, name)
        yield from self.watch(handler(*before, self.desk, *self.controls.values()))

    def anew(self, bar: Any) -> Visitor:
        for _ in self.watch(self.wiring.composing.anew(self.desk, bar, *self.controls.values())):
            pass
        return self

    def follow(self, text: str) -> Visitor:
        values = self.controls.values()
        for _ in self.watch(self.wiring.seeding.reproduce(self.desk, text, *values)):
            pass
        return self

    def choose(self, title: str) -> dict[Any, Any]:
        return self.wiring.seeding.chosen(self.desk, title)

    def drop(self, path: Path) -> dict[Any, Any]:
        return self.wiring.seeding.drop(self.desk, str(path))

    def watch(self, changes: Iterable[dict[Any, Any]]) -> Iterable[None]:
        """Take in what a handler says, as Gradio would hand it to the page."""
        for each in changes:
            assert set(each) <= set(self.page_outputs)
            for component, value in each.items():
                self.seen.setdefault(component, []).append(value)
            if each:
                yield None

    @property
    def page_outputs(self) -> list[Any]:
        wiring, page = self.wiring, self.page
        return [*wiring.results, *wiring.controls, page.recipe, page.after.fetched]

    @property
    def texts(self) -> list[str]:
        return [text_of(html) for html in self.seen.get(self.page.status, [])]

    @property
    def piece(self) -> Any:
        return self.desk.history.version.piece

    def newest(self, component: Any) -> Any:
        return self.seen[component][-1]

    def fetch(self, kind: str) -> tuple[str, bytes]:
        """The name and bytes of a file while it is there."""
        values = self.controls.values()
        for changes in self.wiring.keeping.fetch(kind, self.desk, *values):
            path = Path(changes[self.page.after.fetched])
            found = path.name, path.read_bytes()
        assert not path.exists()
        return found


@pytest.fixture
def ann(wiring: EventListeners) -> Visitor:
    return Visitor(wiring)


class _Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []
        self.tags: set[str] = set()

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.add(tag)


def parsed(html: str) -> _Text:
    parser = _Text()
    parser.feed(html)
    return parser


def text_of(html: str) -> str:
    return " ".join(" ".join(parsed(html).words).split())


# -- The seed --------------------------------------------------------------------------------------


def test_a_seed_is_described_in_plain_words(ann: Visitor) -> None:
    shown = ann.choose(MINUET)
    assert text_of(shown[ann.page.seed.about]) == (
        f"{MINUET} 8 bars of 3/4 at 116 bpm in G major "
        "Right hand (Acoustic Grand Piano): 32 notes, F#4 to G5 "
        "Left hand (Acoustic Grand Piano): 17 notes, D3 to D4"
    )
    assert len(json.loads(shown[ann.page.seed.roll]["roll"])["bars"]["ticks"]) == 9
    assert shown[ann.page.seed.tracks]["value"] == [0, 1]


def test_every_bundled_tune_can_be_chosen_and_is_drawn(ann: Visitor) -> None:
    assert len(TUNES) >= 4
    for title, file in TUNES.items():
        assert text_of(ann.choose(title)[ann.page.seed.about]).startswith(title)
        assert "<path" in tiny_roll(read_midi(file)[0])


def test_what_the_page_shows_at_first_is_what_goes_on(ann: Visitor) -> None:
    assert text_of(ann.page.seed.about.value).startswith(ann.desk.seed.title)
    assert ann.page.seed.cards.value == ann.desk.seed.title


def test_a_dropped_file_is_called_by_its_own_name(
    ann: Visitor, midi_file: Callable[..., Path]
) -> None:
    shown = ann.drop(midi_file("motif.mid"))
    assert text_of(shown[ann.page.seed.about]).startswith("motif.mid 4 bars of 4/4 at 120 bpm")
    assert shown[ann.page.seed.cards] not in {*TUNES, ""}


def test_an_instrument_that_the_model_has_never_heard_is_told(
    midi_file: Callable[..., Path],
) -> None:
    seed = PromptChoice.read(midi_file("two.mid", tracks=("One", "Two")))  # programs 0 and 1
    assert "never heard" not in words.prompt_summary(seed, None)
    assert (
        "This model has never heard Bright Acoustic Piano; it writes for it as for Electric Grand"
        in text_of(words.prompt_summary(seed, [0, 2]))
    )


BAD_FILES = {
    "text": (b"Dear diary, nothing happened today.", "is not a MIDI file"),
    "empty": (b"", "is empty"),
    "truncated": (TUNES[MINUET].read_bytes()[:60], "breaks off after 60 of"),
    "without notes": (b"MThd\0\0\0\6\0\0\0\1\1\xe0MTrk\0\0\0\4\0\xff\x2f\0", "has no notes"),
}


@pytest.fixture(params=BAD_FILES)
def bad_file(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, str]:
    """A file that cannot be used, and words of the sentence that says so."""
    content, words = BAD_FILES[request.param]
    path = tmp_path / "bad.mid"
    path.write_bytes(content)
    return path, words


def test_a_bad_file_is_answered_with_one_sentence_and_changes_nothing(
    ann: Visitor, bad_file: tuple[Path, str]
) -> None:
    path, words = bad_file
    before = ann.desk.seed
    with pytest.raises(ScoreError) as ours:
        read_midi(path)
    with pytest.raises(gr.Error) as shown:
        ann.drop(path)
    assert unescape(shown.value.message) == str(ours.value)
    assert words in shown.value.message
    assert "\n" not in shown.value.message
    assert not shown.value.print_exception
    assert ann.desk.seed is before


def test_markup_from_outside_stays_text(ann: Visitor, midi_file: Callable[..., Path]) -> None:
    path = midi_file("<b>bold<.mid", tracks=(HOSTILE,))
    about = ann.drop(path)[ann.page.seed.about]
    assert text_of(about).count("<img src=x onerror=") == 1
    assert text_of(about).startswith("<b>bold<.mid")
    ann.press()
    for html in (about, *ann.seen[ann.page.status], *ann.seen[ann.page.takes[0].caption]):
        assert not parsed(html).tags & {"img", "b", "i"}


def test_a_part_of_a_seed_goes_on(ann: Visitor) -> None:
    about = ann.wiring.seeding.part(ann.desk, [0], 2, "5", True)[ann.page.seed.about]
    assert "bars 2 to 5 of 1 track go on" in text_of(about)
    assert ann.press().texts[-1].startswith(f"2 bars after 4 bars of {MINUET}.")
    assert ann.piece.recipe.source.selection.tracks == {0}


@pytest.mark.parametrize(
    ("tracks", "first", "last", "words"),
    [([], 1, "", "at least one track"), ([0], 1, "99", "no bar 99"), ([0], 1, "x", "whole number"),
     ([7], 1, "", "no track 7"), ([0], 5, "2", "at least first_bar")],
)  # fmt: skip
def test_a_part_that_is_not_there_is_one_sentence(
    ann: Visitor, tracks: list[int], first: int, last: str, words: str
) -> None:
    before = ann.desk.seed
    with pytest.raises(gr.Error, match=words):
        ann.wiring.seeding.part(ann.desk, tracks, first, last, True)
    assert ann.desk.seed is before


def test_bars_written_into_the_fields_are_marked_on_the_roll(ann: Visitor) -> None:
    values = [
        ann.wiring.seeding.part(ann.desk, [0, 1], first, "", True)[ann.page.seed.roll]
        for first in (3, 1)
    ]
    assert [value["selection"] for value in values] == [[3, 8], None]
    assert values[0]["stream"] == values[1]["stream"]  # nobody's listening is disturbed


def test_a_seed_that_cannot_be_heard_is_one_sentence_and_its_player_is_at_rest(
    ann: Visitor,
) -> None:
    event = SimpleNamespace(_data={"position_s": 0})
    listening = ann.wiring.seeding.listen(ann.desk, event, *ann.controls.values())
    assert next(listening)[ann.page.seed.roll]["complete"]
    with pytest.raises(gr.Error, match=r"No SoundFont at '/nowhere.sf2'"):
        next(listening)


def test_bars_marked_on_the_roll_are_chosen(ann: Visitor) -> None:
    seeding, panel = ann.wiring.seeding, ann.page.seed
    marked = seeding.bars(ann.desk, [0, 1], True, SimpleNamespace(_data={"first": 3, "last": 4}))
    assert (marked[panel.first_bar], marked[panel.last_bar]) == (3, "4")
    assert "bars 3 to 4 of all tracks go on" in text_of(marked[panel.about])
    nothing = SimpleNamespace(_data={"first": None, "last": None})
    marked = seeding.bars(ann.desk, [0, 1], True, nothing)
    assert (marked[panel.first_bar], marked[panel.last_bar]) == (1, "")
    assert ann.desk.seed.selection is None


# -- Composing -------------------------------------------------------------------------------------


def test_every_bar_is_told(ann: Visitor) -> None:
    texts = [re.sub(", about.*", "", text) for text in ann.press(bars=3).texts]
    assert list(dict.fromkeys(texts)) == [
        "Listening to the seed …",
        "Composing: bar 1 of 3",
        "Composing: bar 2 of 3",
        "Composing: bar 3 of 3",
        ann.texts[-1],
    ]
    assert ann.texts[-1].startswith(f"3 bars after 8 bars of {MINUET}.")


def test_the_time_left_follows_from_the_time_it_took() -> None:
    assert text_of(words.progress("Composing", 2, 8, 3.2)) == (
        "Composing: bar 2 of 8, about 3 s left"
    )
    assert 'value="2" max="8"' in words.progress("Composing", 2, 8, 3.2)


def test_the_roll_grows_to_its_planned_width(ann: Visitor) -> None:
    ann.press(bars=3, fewest_notes=1)  # the first bar may be silent by chance
    values = ann.seen[ann.page.takes[0].player]
    lengths = [len(json.loads(value["roll"])["bars"]["ticks"]) - 1 for value in values]
    assert lengths == sorted(lengths)
    assert (lengths[0], lengths[-1]) == (9, 11)
    assert {value["planned_bars"] for value in values} == {11}


def test_without_a_soundfont_the_piece_still_comes_and_the_sentence_is_shown(ann: Visitor) -> None:
    assert "No SoundFont at '/nowhere.sf2'" in ann.press().texts[-1]
    assert ann.piece.bars == 2


def test_the_random_seed_is_shown_and_a_locked_one_makes_the_same_piece(ann: Visitor) -> None:
    first = ann.press().piece
    drawn = ann.newest(ann.page.controls["random_seed"])
    assert drawn == str(first.sampling.seed)
    again = ann.press(random_seed=drawn, locked=True).piece
    assert again.to_midi() == first.to_midi()
    assert ann.press(locked=False).piece.sampling.seed != first.sampling.seed


def test_what_is_composed_is_what_the_library_composes(
    ann: Visitor, tiny_composer: Composer
) -> None:
    piece = ann.press(random_seed="7", locked=True, adventurous=1.2).piece
    expected = tiny_composer.compose(
        bars=2, prompt=TUNES[MINUET], sampling=Sampling(temperature=1.2, seed=7)
    )
    assert piece.to_midi() == expected.to_midi()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("bars", 0), ("bars", 65), ("bars", "nan"), ("bars", 2.5), ("adventurous", "inf"),
        ("adventurous", -1), ("key", "H major"), ("meter", "4/0"), ("tempo_bpm", "quick"),
        ("tempo_bpm", "1e999"), ("instruments", [200]), ("instruments", ["x"]), ("top_p", 0),
        ("most_at_once", "0"), ("soundfont", "../../etc/passwd"), ("swaps", {"0": 999}),
        ("gain_db", 1e9), ("endless", "yes"),
    ],
)  # fmt: skip
def test_a_control_out_of_range_is_one_sentence(ann: Visitor, name: str, value: Any) -> None:
    with pytest.raises(gr.Error) as refused:
        ann.press(**{name: value})
    assert refused.value.message.endswith(".")
    assert ann.desk.history.version is None
    assert ann.desk.press is None


def test_wishes_that_contradict_each_other_are_one_sentence(ann: Visitor) -> None:
    with pytest.raises(gr.Error, match="lowest"):
        ann.press(lowest=80, highest=40)
    with pytest.raises(gr.Error, match="ending needs"):
        ann.press(lowest=0, highest=127, instruments=[-1], ending=True)
    assert ann.press(instruments=[], ending=False).piece.bars == 2  # and nothing is lost


def test_surprise_me_begins_from_nothing(ann: Visitor) -> None:
    assert ann.press("surprise").texts[-1].startswith("2 bars from nothing.")
    assert ann.piece.prompt is None


@pytest.mark.parametrize("after_bars", [0, 1])
def test_an_error_of_ours_while_composing_is_one_sentence(
    after_bars: int, wiring_for: Callable[[Any], EventListeners], tiny_composer: Composer
) -> None:
    class Failing:
        def __getattr__(self, name: str) -> Any:
            return getattr(tiny_composer, name)

        def stream(self, **options: Any) -> Any:
            for piece in tiny_composer.stream(**options):
                if piece.bars > after_bars:
                    raise RenderError("The <pen> broke.")
                yield piece

    bob = Visitor(wiring_for(Failing()))
    with pytest.raises(gr.Error, match="The &lt;pen&gt; broke"):
        bob.press()
    assert bob.desk.press is None
    assert len(bob.desk.history.versions) == min(1, after_bars)
    rest = bob.wiring.composing.rest(bob.desk)
    assert rest[bob.page.stop]["interactive"] is False


# -- Stop, leave, press again ----------------------------------------------------------------------


@pytest.fixture
def slow(wiring_for: Callable[[Any], EventListeners], watched: Any) -> Visitor:
    return Visitor(wiring_for(watched))


def test_stop_keeps_what_there_is(slow: Visitor, watched: Any) -> None:
    for _ in slow.pressing("go", bars=64):
        if watched.bars == 3:
            slow.desk.stop()
    assert slow.piece.bars == watched.bars == 3
    assert slow.texts[-1].startswith("3 bars after")


def test_a_visitor_who_leaves_stops_the_work(slow: Visitor, watched: Any) -> None:
    events = iter(slow.wiring.composing.go(slow.desk, *(slow.controls | {"bars": 64}).values()))
    for _ in range(3):
        next(events)
    events.close()
    assert watched.ended.is_set()
    assert watched.bars < 64
    assert slow.desk.press is None
    assert slow.press(bars=1).piece.bars == 1


def test_a_press_while_something_runs_takes_its_place(slow: Visitor, watched: Any) -> None:
    watched.pause_s = 0.05
    first = Visitor(slow.wiring)
    first.desk = slow.desk
    running = threading.Thread(target=first.press, kwargs={"endless": True})
    running.start()
    while watched.bars < 3:
        pass
    assert slow.press(bars=2).piece.bars == 2
    running.join(timeout=30)
    assert not running.is_alive()
    early, late = slow.desk.history.versions
    assert early.piece.bars >= 3
    assert late.piece.bars == 2


def test_a_press_that_never_ends_is_one_sentence(
    ann: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("page.session.session.PATIENCE_S", 0.01)
    ann.desk.begin()
    with pytest.raises(gr.Error, match="has not ended yet"):
        ann.press()
    ann.desk.end()
    assert ann.press().piece.bars == 2


def test_a_desk_is_never_copied(ann: Visitor) -> None:
    import copy

    ann.press()
    assert copy.deepcopy(ann.desk).history.version is None


# -- Takes and versions ----------------------------------------------------------------------------


def test_four_takes_are_four_versions_and_one_is_kept(ann: Visitor) -> None:
    ann.press("four", random_seed="7", locked=True)
    versions = ann.desk.history.versions
    assert [(v.letter, v.piece.sampling.seed) for v in versions] == [
        ("A", 7), ("B", 8), ("C", 9), ("D", 10),
    ]  # fmt: skip
    assert ann.desk.history.version.letter == "A"
    ann.press("keep", 2)
    assert [v.letter for v in ann.desk.history.versions] == ["C"]
    captions = [ann.newest(take.caption) for take in ann.page.takes]
    assert "random seed 9" in text_of(captions[0])
    assert captions[1:] == ["", "", ""]


def test_the_buttons_below_four_takes_say_which_one_they_mean(ann: Visitor) -> None:
    assert (
        ann.press("four")
        .texts[-1]
        .startswith(
            f"2 bars after 8 bars of {MINUET}. Keep the one you like; until then the buttons below "
            "mean A."
        )
    )
    assert "Keep the one" not in ann.press("keep", 1).texts[-1]
    ann.press("four")
    assert "Keep the one" not in ann.press("go").texts[-1]
    assert [player.number is None for player in ann.desk.players] == [False, True, True, True]


def test_going_on_extends_what_is_shown_and_again_tries_that_once_more(ann: Visitor) -> None:
    first = ann.press().piece
    longer = ann.press("on", bars=3).piece
    assert longer.truncated(2).to_midi() == first.to_midi()
    assert longer.bars == 5
    other = ann.press("go", bars=1).piece  # other settings, from the same place
    assert (other.bars, other.truncated(2).to_midi()) == (3, first.to_midi())
    parents = [(v.number, v.parent) for v in ann.desk.history.versions]
    assert parents == [(1, None), (2, 1), (3, 1)]
    ann.choose("Ode to Joy (Beethoven)")
    assert ann.press().texts[-1].startswith("1 bar after 8 bars of Ode to Joy")


def test_a_piece_is_made_anew_from_a_bar(ann: Visitor) -> None:
    first = ann.press(bars=4).piece
    second = ann.anew(3).piece
    assert second.bars == 4
    assert second.truncated(2).to_midi() == first.truncated(2).to_midi()
    assert second.to_midi() != first.to_midi()


@pytest.mark.parametrize("bar", [0, 3, None, "x", 10**30])
def test_a_bar_that_is_not_there_is_one_sentence(ann: Visitor, bar: Any) -> None:
    ann.press()
    with pytest.raises(gr.Error, match="cannot be made anew"):
        ann.anew(bar)
    assert ann.desk.press is None


def test_a_bar_marked_on_the_player_is_the_one_to_begin_again_at(ann: Visitor) -> None:
    ann.press()
    keeping, bar = ann.wiring.keeping, ann.page.after.bar
    assert keeping.bar(ann.desk, SimpleNamespace(_data={"first": 10, "last": 10})) == {bar: 2}
    for outside in ({"first": 8}, {"first": 11}, {"first": None}, {"first": "x"}, {}):
        assert keeping.bar(ann.desk, SimpleNamespace(_data=outside)) == {}


def test_undo_and_redo(ann: Visitor) -> None:
    first = ann.press().piece
    second = ann.press().piece
    assert ann.newest(ann.page.after.undo)["interactive"] is True
    assert ann.press("undo").piece is first
    assert ann.newest(ann.page.after.redo)["interactive"] is True
    assert ann.press("redo").piece is second
    lines = text_of(ann.newest(ann.page.after.history))
    assert lines.startswith("History: 2 versions 1. 2 bars")


@pytest.mark.parametrize("what", ["undo", "redo", "on"])
def test_before_the_first_piece_nothing_can_be_done_with_it(ann: Visitor, what: str) -> None:
    with pytest.raises(gr.Error, match="no piece yet"):
        ann.press(what)


def test_a_version_that_is_not_there_is_one_sentence(ann: Visitor) -> None:
    ann.press()
    with pytest.raises(gr.Error, match="Version 99 is not there"):
        list(ann.wiring.keeping.go_to(ann.desk, *ann.controls.values(), number=99))


def test_instruments_are_muted(ann: Visitor) -> None:
    ann.press()
    data = {"muted": [0, "x", None], "position_s": 1.0, "bar": 2}
    handler = ann.wiring.composing.mute(0, ann.desk, ann.controls.values(), data)
    values = [changes[ann.page.takes[0].player] for changes in handler if changes]
    assert values[-1]["muted"] == [0]
    with pytest.raises(gr.Error, match="programs must be"):
        list(ann.wiring.composing.mute(0, ann.desk, ann.controls.values(), {"muted": [999]}))


def test_what_is_muted_while_it_is_composed_is_silent_from_the_next_bar_on(
    slow: Visitor, watched: Any
) -> None:
    data = {"muted": [0], "position_s": 0.0, "bar": 1}
    told = []
    for _ in slow.pressing("go", bars=6):
        told.append((watched.bars, slow.seen.get(slow.page.takes[0].player, [{}])[-1]))
        if watched.bars == 3 and not slow.desk.players[0].muted:
            list(slow.wiring.composing.mute(0, slow.desk, slow.controls.values(), data))
    muted = [bars for bars, value in told if value.get("muted") == [0]]
    assert muted[0] == 4
    assert told[-1][1]["complete"]


def test_the_room_is_another_one_while_it_is_composed(slow: Visitor, watched: Any) -> None:
    sounds = set()
    for _ in slow.pressing("go", bars=6):
        sounds |= {value["rendering"] for value in slow.seen.get(slow.page.takes[0].player, [])}
        if watched.bars == 3:
            values = (slow.controls | {"reverb": 0.1}).values()
            list(slow.wiring.composing.remix(slow.desk, "1.5 0 0 0", *values))
    assert sounds == {0, 1}
    assert slow.desk.players[0].from_s == 1.5


def test_instruments_are_swapped_and_swapped_back() -> None:
    swaps = swap({}, 0, 40)
    assert swaps == {"0": 40}
    assert swap(swaps, 1, 41) == {"0": 40, "1": 41}
    assert swap(swaps, 0, -1) == {}
    assert swap(swaps, None, 3) == swaps


# -- Files, links, models --------------------------------------------------------------------------


def test_files_hold_the_piece_and_have_names_of_our_making(
    ann: Visitor, midi_file: Callable[..., Path]
) -> None:
    ann.drop(midi_file("<i>..%2f x.mid"))
    ann.press(random_seed="7", locked=True)
    for kind, content in (
        ("midi", ann.piece.to_midi()),
        ("new_midi", ann.piece.to_midi(only_new=True)),
    ):
        name, data = ann.fetch(kind)
        assert data == content
        assert re.fullmatch(r"musiclstm-[a-z0-9-]+-7(-new)?\.mid", name)
    assert Recipe.from_json(ann.fetch("recipe")[1]) == ann.piece.recipe


def test_a_file_that_cannot_be_made_is_one_sentence(ann: Visitor) -> None:
    with pytest.raises(gr.Error, match="no piece to take home"):
        ann.fetch("midi")
    ann.press()
    with pytest.raises(gr.Error, match="No SoundFont"):
        ann.fetch("wav")


def test_a_link_makes_the_same_piece_for_somebody_else(wiring: EventListeners) -> None:
    ann, bob = Visitor(wiring), Visitor(wiring)
    ann.press(bars=3, adventurous=1.1, key="D minor")
    ann.press("on")
    link = ann.newest(ann.page.after.link_code)
    assert bob.follow(link).piece.to_midi() == ann.piece.to_midi()
    assert bob.newest(bob.page.controls["adventurous"]) == 1.1
    assert bob.newest(bob.page.controls["key"]) == "D minor"
    assert bob.newest(bob.page.controls["random_seed"]) == str(ann.piece.sampling.seed)
    assert bob.press("on").piece.bars == 8


def test_a_link_to_a_file_waits_for_it(
    wiring: EventListeners, midi_file: Callable[..., Path]
) -> None:
    ann, bob = Visitor(wiring), Visitor(wiring)
    path = midi_file("motif.mid")
    ann.drop(path)
    link = ann.press().newest(ann.page.after.link_code)
    assert "drop that file" in bob.follow(link).texts[-1]
    wrong = bob.drop(midi_file("other.mid", bars=3))[bob.page.recipe]["value"]
    with pytest.raises(gr.Error, match="continues a file"):
        bob.follow(wrong)
    right = bob.drop(path)[bob.page.recipe]["value"]
    assert bob.follow(right).piece.to_midi() == ann.piece.to_midi()


@pytest.mark.parametrize("text", ["x", "<b>", "A" * 10_000, "é"])
def test_a_broken_link_is_one_sentence(ann: Visitor, text: str) -> None:
    with pytest.raises(gr.Error, match="holds no recipe"):
        ann.follow(text)


def test_a_link_that_asks_for_too_much_is_one_sentence(
    ann: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = ann.press().newest(ann.page.after.link_code)
    monkeypatch.setattr("page.ui.prompt_handlers.MOST_BARS_FOLLOWED", 1)
    with pytest.raises(gr.Error, match="more than 1 bars"):
        ann.follow(link)


def test_a_piece_does_not_grow_without_end(ann: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("page.ui.generate_handlers.MOST_BARS_IN_ALL", 3)
    ann.press()
    with pytest.raises(gr.Error, match="at most 3 new bars"):
        ann.press("on")


def test_another_model_is_loaded_for_one_visitor_only(
    wiring: EventListeners, tiny_checkpoint: Path
) -> None:
    ann, bob = Visitor(wiring), Visitor(wiring)
    card = wiring._load(ann.desk, str(tiny_checkpoint))
    assert f"Composed by {tiny_checkpoint.name} " in text_of(card)
    assert ann.press().piece.model_info.model == tiny_checkpoint.name
    assert bob.desk.composer is None
    with pytest.raises(gr.Error, match="nowhere"):
        wiring._load(bob.desk, "/nowhere/<b>")


def test_a_model_box_is_there_only_where_it_is_allowed(
    wiring: EventListeners, wiring_for: Callable[..., EventListeners], tiny_composer: Composer
) -> None:
    assert wiring.page.model_name is None
    assert wiring_for(tiny_composer, model_box=True).page.model_name is not None


# -- Through the client ----------------------------------------------------------------------------


@pytest.fixture
def client(page_url: str, tmp_path: Path) -> Callable[[], Client]:
    return lambda: Client(page_url, verbose=False, download_files=str(tmp_path))


def test_programs_are_told_of_one_endpoint_with_typed_inputs(client: Callable[[], Client]) -> None:
    endpoints = client().view_api(return_format="dict")["named_endpoints"]
    assert list(endpoints) == ["/continue"]
    parameters = {each["parameter_name"]: each for each in endpoints["/continue"]["parameters"]}
    assert list(parameters) == [
        "midi", "tune", "bars", "adventurous", "surprise", "key", "meter", "random_seed",
    ]  # fmt: skip
    assert parameters["bars"]["parameter_default"] == 8
    assert parameters["midi"]["python_type"]["type"].startswith("filepath")


@pytest.mark.fluidsynth
def test_a_program_lets_a_file_go_on(
    client: Callable[[], Client],
    midi_file: Callable[..., Path],
    tiny_composer: Composer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("MUSICLSTM_SOUNDFONT")
    pytest.importorskip("fluidsynth", reason="libfluidsynth is not installed", exc_type=ImportError)
    path = midi_file("motif.mid", bars=2)
    midi, wav, recipe = client().predict(
        midi=handle_file(path), bars=2, random_seed=7, api_name="/continue"
    )
    expected = tiny_composer.compose(bars=2, prompt=path, sampling=Sampling(seed=7))
    assert Path(midi).read_bytes() == expected.to_midi()
    assert Path(wav).read_bytes().startswith(b"RIFF")
    assert json.loads(recipe)["steps"][0]["sampling"]["seed"] == 7


@pytest.mark.fluidsynth
def test_the_snippet_of_the_readme_runs(
    page_url: str,
    midi_file: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("MUSICLSTM_SOUNDFONT")
    pytest.importorskip("fluidsynth", reason="libfluidsynth is not installed", exc_type=ImportError)
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```py\n(.*?)```", readme, flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    examples = tmp_path / "musiclstm" / "examples"
    examples.mkdir(parents=True)
    midi_file("minuet_in_g.mid", bars=2).replace(examples / "minuet_in_g.mid")
    found: dict[str, Any] = {}
    exec(compile(code.replace("http://127.0.0.1:7860", page_url), "README.md", "exec"), found)
    assert read_recipe(Path(found["midi"]).read_bytes()).to_json() == found["recipe"]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [({"bars": 65}, "bars"), ({"tune": "<b>"}, "no bundled seed"), ({"adventurous": 9}, "adventur"),
     ({"key": "H"}, "H")],
)  # fmt: skip
def test_a_program_is_refused_with_one_sentence(
    client: Callable[[], Client], wrong: dict[str, Any], words: str
) -> None:
    with pytest.raises(AppError, match=words):
        client().predict(midi=None, api_name="/continue", **wrong)


def test_a_file_beyond_two_megabytes_is_refused(
    client: Callable[[], Client], tmp_path: Path
) -> None:
    large = tmp_path / "large.mid"
    large.write_bytes(bytes(2_200_000))
    with pytest.raises(Exception, match=r"413|too large|[Mm]aximum"):
        client().predict(midi=handle_file(large), api_name="/continue")


def test_two_visitors_keep_their_own_piece(
    client: Callable[[], Client], midi_file: Callable[..., Path], wiring: EventListeners
) -> None:
    values = Visitor(wiring).controls
    del values["swaps"]  # rests on the server
    ann, bob = client(), client()
    ann.predict(handle_file(midi_file("one.mid", bars=1)), api_name="/drop")
    bob.predict(handle_file(midi_file("two.mid", bars=2)), api_name="/drop")
    pieces = []
    for visitor, bars in ((ann, 1), (bob, 2)):
        pressed = values | {"bars": bars, "fewest_notes": 1}  # a random bar may be silent
        visitor.predict(*pressed.values(), api_name="/compose")
        pieces.append(visitor.predict(*values.values(), api_name="/file_midi"))
    pieces = [Path(piece).read_bytes() for piece in pieces]
    assert [read_midi(piece)[1].bars for piece in pieces] == [2, 4]
    again = ann.predict(*values.values(), api_name="/file_midi")
    assert Path(again).read_bytes() == pieces[0]
    assert read_recipe(pieces[0]).source != read_recipe(pieces[1]).source


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


def test_mcp_without_its_extra_is_one_sentence_and_status_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(app, "find_spec", lambda name: None)
    assert app.main(["--mcp"]) == 1
    assert capsys.readouterr().err == (
        "error: --mcp needs more packages; in an environment of its own, run: "
        "pip install -r requirements.txt 'gradio[mcp]'\n"
    )


def test_a_seed_that_does_not_exist_is_one_sentence(ann: Visitor) -> None:
    with pytest.raises(gr.Error, match="no bundled seed"):
        ann.choose(HOSTILE)
    assert isinstance(ann.desk.seed, PromptChoice)
