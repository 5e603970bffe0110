"""Jobs: composing, takes, stopping, muting and remixing."""

from __future__ import annotations

import copy
import json
import re
import threading
from typing import Any

import gradio as gr
import pytest

from musiclstm import Composer, RenderError, Sampling, example_files
from musiclstm.generation import Assessment
from page.ui import html
from tests.page.server.waiting import until
from tests.page.session_driver import ParsedHtml, SessionDriver, build_events, text_of

MINUET = "Minuet in G (Petzold)"


def test_every_bar_updates_the_status(ann: SessionDriver) -> None:
    texts = [re.sub(", about.*", "", text) for text in ann.run(bars=3).texts]
    assert list(dict.fromkeys(texts))[:-1] == [
        "Reading the prompt …", *(f"Composing: bar {bar} of 11" for bar in (9, 10, 11))
    ]  # fmt: skip
    assert ann.texts[-1].startswith("Continue adds 3 bars after bar 11.")


def test_progress_shows_bars_and_the_time_left() -> None:
    progress = html.progress("Composing", 2, 8, 3.2)
    assert text_of(progress) == "Composing: bar 2 of 8, about 3 s left"
    assert 'value="2" max="8"' in progress


def test_the_piano_roll_grows_to_its_planned_width(ann: SessionDriver) -> None:
    ann.run(bars=3, fewest_notes=1)  # the first bar may be silent by chance
    values = ann.shown[ann.page.players[0]]
    tables = [json.loads(value["roll"])["bars"] for value in values]
    lengths = [table["from"] + len(table["ticks"]) - 1 for table in tables]
    assert lengths == sorted(lengths)
    assert (lengths[0], lengths[-1]) == (9, 11)
    assert {value["planned_bars"] for value in values} == {11}


def test_without_a_soundfont_the_piece_is_composed_and_the_reason_is_shown(
    ann: SessionDriver,
) -> None:
    assert "No SoundFont at '/nowhere.sf2'" in ann.run().texts[-1]
    assert ann.piece.bars == 2


def test_a_typed_random_seed_is_used(ann: SessionDriver) -> None:
    first = ann.run(random_seed="7").piece
    assert first.sampling.seed == 7
    assert ann.run("again").piece.to_midi() == first.to_midi()
    assert ann.run("again", random_seed="").piece.sampling.seed != 7


def test_the_page_composes_what_the_library_composes(
    ann: SessionDriver, tiny_composer: Composer
) -> None:
    piece = ann.run(random_seed="7", adventurous=1.2).piece
    expected = tiny_composer.compose(
        bars=2, prompt=example_files()[MINUET], sampling=Sampling(temperature=1.2, seed=7)
    )
    assert piece.to_midi() == expected.to_midi()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("bars", "nan"), ("bars", 2.5), ("adventurous", "inf"), ("key", "H major"),
        ("tempo_bpm", "quick"), ("instruments", ["x"]), ("soundfont", "../../etc/passwd"),
        ("swaps", {"0": 999}), ("endless", "yes"),
    ],
)  # fmt: skip
def test_an_invalid_control_is_rejected_before_a_job_starts(
    ann: SessionDriver, name: str, value: Any
) -> None:
    with pytest.raises(gr.Error, match=name.replace("_", " ")):
        ann.run(**{name: value})
    assert ann.session.version.piece is None
    assert ann.session.job is None


def test_contradicting_constraints_are_rejected_and_the_next_job_works(ann: SessionDriver) -> None:
    with pytest.raises(gr.Error, match="lowest"):
        ann.run(lowest=80, highest=40)
    with pytest.raises(gr.Error, match="ending"):
        ann.run(lowest=0, highest=127, instruments=[-1], ending=True)
    assert ann.run(instruments=[], ending=False).piece.bars == 2


def test_a_new_piece_has_the_band_key_meter_and_tempo_of_the_form(ann: SessionDriver) -> None:
    ann.run("start_new", "Violin and piano", "D minor", "3/4", 90)
    assert not ann.piece.prompt_bars
    first = ann.piece.constraints
    assert (first.programs, first.key, first.meter) == ({0, 40}, "D minor", (3, 4))
    assert ann.run().piece.constraints.programs == {0, 40}
    assert ann.piece.bars == 4
    assert ann.move("undo").move("undo").session.version.prompt.title == MINUET
    with pytest.raises(gr.Error, match="meter must be one of"):
        ann.run("start_new", "Any", "any", "x", 90)


@pytest.mark.parametrize("after_bars", [0, 1])
def test_an_error_while_composing_keeps_the_bars_before_it(
    after_bars: int, tiny_composer: Composer
) -> None:
    class Failing:
        def __getattr__(self, name: str) -> Any:
            return getattr(tiny_composer, name)

        def stream(self, **options: Any) -> Any:
            for piece in tiny_composer.stream(**options):
                if piece.bars > after_bars:
                    raise RenderError("The <pen> broke.")
                yield piece

    user = SessionDriver(build_events(Failing()))
    with pytest.raises(gr.Error, match="The &lt;pen&gt; broke"):
        user.run()
    assert user.session.job is None
    assert len(user.session.history.versions) == 1 + min(1, after_bars)
    idle = user.events.generate.idle_state(user.session)
    assert idle[user.page.actions.stop]["interactive"] is False


# -- Stop, leave, start again ----------------------------------------------------------------------


def test_stop_keeps_the_bars_so_far(slow: SessionDriver, watched: Any) -> None:
    for _ in slow.updates("append", bars=64):
        if watched.bars == 3:
            slow.session.stop_job()
    assert slow.piece.bars == watched.bars == 3
    assert slow.texts[-1].startswith("Continue adds 64 bars after bar 11.")


def test_closing_the_updates_stops_composing(slow: SessionDriver, watched: Any) -> None:
    updates = slow.updates("append", bars=64)
    for _ in range(3):
        next(updates)
    updates.close()  # type: ignore[attr-defined]
    assert watched.ended.is_set()
    assert watched.bars < 64
    assert slow.session.job is None
    kept = slow.piece.bars
    assert slow.run(bars=1).piece.bars == kept + 1


def test_a_new_job_replaces_the_running_one(slow: SessionDriver, watched: Any) -> None:
    watched.pause_s, watched.bars = 0.05, 0
    first = SessionDriver(slow.events, slow.session)
    running = threading.Thread(target=first.run, kwargs={"endless": True})
    running.start()
    until(lambda: watched.bars >= 3)
    slow.run(bars=2)
    running.join(timeout=30)
    assert not running.is_alive()
    _, early, late = slow.session.history.versions
    assert early.piece is not None
    assert early.piece.bars >= 3
    assert late.new_bars == early.new_bars + 2


def test_a_job_that_does_not_end_is_reported(
    ann: SessionDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("page.session.session.JOB_TIMEOUT_S", 0.01)
    ann.session.start_job()
    with pytest.raises(gr.Error, match="has not ended yet"):
        ann.run()
    ann.session.end_job()
    assert ann.run().piece.bars == 2


def test_a_copy_of_a_session_is_empty(ann: SessionDriver) -> None:
    ann.run()
    assert copy.deepcopy(ann.session).version.piece is None


# -- Takes and continuations -----------------------------------------------------------------------


def strips_of(user: SessionDriver) -> list[tuple[str, bool]]:
    """Letters of the strips in their order, and whether each is chosen."""
    html = user.newest(user.page.strips)
    found = re.findall(
        r'aria-checked="(\w+)" tabindex="-?\d" data-take="\d" data-letter="(\w)"', html
    )
    return [(letter, checked == "true") for checked, letter in found]


def test_four_takes_are_versions_and_another_one_can_be_chosen(ann: SessionDriver) -> None:
    ann.run("offer", random_seed="7")
    versions = ann.session.history.versions[1:]
    found = [(version.letter, version.piece.sampling.seed) for version in versions]
    assert found == [("A", 7), ("B", 8), ("C", 9), ("D", 10)]
    assert (ann.session.version.letter, ann.session.take) == ("A", 0)
    assert sorted(strips_of(ann)) == [("A", True), ("B", False), ("C", False), ("D", False)]
    shown = ann.events.generate.choose_take(ann.session, {"take": 2})
    assert ann.session.version.letter == "C"
    assert 'aria-checked="true" tabindex="0" data-take="2"' in shown[ann.page.strips]
    assert ann.run().piece.steps[0].sampling.seed == 9
    assert ann.piece.bars == 4
    assert ann.newest(ann.page.strips) == ""
    for data in ({}, {"take": 1}, {"take": 7}, {"take": "x"}):
        assert ann.events.generate.choose_take(ann.session, data) == {}  # type: ignore[arg-type]


def test_four_takes_are_alternatives_of_the_last_step(ann: SessionDriver) -> None:
    first = ann.run(bars=2).piece
    ann.run(bars=3).run("offer", bars=7)
    takes = [each.piece for each in ann.session.history.versions if each.letter]
    assert takes
    assert {piece.bars for piece in takes if piece} == {5}
    for piece in takes:
        assert piece is not None
        assert piece.truncated(2).to_midi() == first.to_midi()


class JudgingComposer:
    """A composer whose takes get given scores; a take without a score has collapsed."""

    def __init__(self, composer: Composer, scores: list[float | None]) -> None:
        self._composer, self._scores = composer, scores

    def __getattr__(self, name: str) -> Any:
        return getattr(self._composer, name)

    def assess(self, piece: Any, **options: Any) -> Assessment:
        score = self._scores[piece.sampling.seed - 7]
        return Assessment(score or 0.0, (f"<b>{score}</b>",), is_collapsed=score is None)


@pytest.mark.parametrize(
    ("scores", "order"),
    [
        ([1.0, 4.0, 3.0, 4.0], "BDCA"),
        ([None, 1.0, None, 2.0], "DB"),
        ([None, None, 3.0, None], ""),
        ([None] * 4, "ABCD"),
    ],
)
def test_complete_takes_are_ordered_with_reasons_and_without_collapsed_ones(
    scores: list[float | None], order: str, tiny_composer: Composer
) -> None:
    user = SessionDriver(build_events(JudgingComposer(tiny_composer, scores)))
    user.run("offer", random_seed="7")
    assert "".join(letter for letter, _ in strips_of(user)) == order
    *before, last = user.shown[user.page.strips]
    assert not any("&lt;b&gt;" in html for html in before)
    assert last.count("<small></small>") == 0
    assert not ParsedHtml(last).tags - {"div", "button", "b", "span", "svg", "path", "small"}
    kept = sorted(order) or ["C"]
    letters = [version.letter for version in user.session.history.versions[1:]]
    assert letters == kept
    assert user.session.version.letter == ("A" if "A" in kept else (order or "C")[0])
    playing = [player.version is not None for player in user.session.players]
    assert playing == [letter in kept for letter in "ABCD"]
    stopped = [user.newest(player) is None for player in user.page.players]
    assert stopped == [letter not in kept for letter in "ABCD"]


def test_one_piece_after_four_takes_empties_the_other_players(ann: SessionDriver) -> None:
    ann.run("offer").run()
    assert [player.version is None for player in ann.session.players] == [False, True, True, True]


def test_continue_appends_and_try_again_makes_the_last_step_anew(ann: SessionDriver) -> None:
    first = ann.run().piece
    longer = ann.run(bars=3).piece
    assert longer.truncated(2).to_midi() == first.to_midi()
    assert longer.bars == 5
    other = ann.run("again", bars=1).piece
    assert (other.bars, other.truncated(2).to_midi()) == (5, first.to_midi())
    assert other.to_midi() != longer.to_midi()
    parents = [(each.number, each.parent) for each in ann.session.history.versions]
    assert parents == [(1, None), (2, 1), (3, 2), (4, 2)]
    assert ann.run().piece.bars == 6
    ann.prompt("choose_example", "Ode to Joy (Beethoven)")
    ann.run()
    assert (ann.piece.bars, ann.session.version.prompt.title) == (1, "Ode to Joy (Beethoven)")


def test_new_bars_are_composed_again_from_a_selected_one(ann: SessionDriver) -> None:
    first = ann.run(bars=4).piece
    second = ann.select(11, 11).run("redo_from").piece
    assert second.bars == 4
    assert second.truncated(2).to_midi() == first.truncated(2).to_midi()
    assert second.to_midi() != first.to_midi()


@pytest.mark.parametrize(
    ("bar", "fact"), [(8, "new bars are 9 to 10"), (11, "new bars are 9"), (None, "Select bars")]
)
def test_a_bar_that_is_not_new_is_rejected(ann: SessionDriver, bar: Any, fact: str) -> None:
    ann.run()
    with pytest.raises(gr.Error, match=fact):
        ann.select(bar, bar).run("redo_from")
    assert ann.session.job is None


def notes_of(score: Any, track: int) -> list[tuple[int, int]]:
    return sorted((note.time, note.pitch) for note in score.tracks[track].notes)


def test_selected_bars_of_one_part_are_written_anew_and_the_rest_is_kept(
    ann: SessionDriver,
) -> None:
    before = ann.run(bars=2).session.version
    ann.select(5, 6).run("write_anew", [2], random_seed="3")
    after = ann.session.version
    assert before.score is not None
    assert after.score is not None
    bar = 3 * after.score.ticks_per_quarter
    scale = after.score.ticks_per_quarter // before.score.ticks_per_quarter
    old, new = ([notes_of(each.score, i) for i in (0, 1)] for each in (before, after))
    old = [[(time * scale, pitch) for time, pitch in track] for track in old]
    assert new[0] == old[0]
    outside = [[each for each in t if not 4 * bar <= each[0] < 6 * bar] for t in (old[1], new[1])]
    assert outside[0] == outside[1]
    assert (after.last_bar, after.piece, ann.session.selection) == (10, None, (5, 6))
    assert str(after) == "3. bars 5 to 6 again: Left hand"
    again = ann.run("again", random_seed="4").session.version
    assert (again.parent, again.edit) == (2, after.edit)
    assert ann.run().session.version.last_bar == 12
    assert ann.move("undo").move("undo").move("undo").session.version is before


def test_parts_are_added_to_kept_ones(ann: SessionDriver) -> None:
    before = ann.session.version.score
    ann.run("add_parts", [1], [32])
    score = ann.session.version.score
    assert before is not None
    assert score is not None
    assert [track.program for track in score.tracks] == [0, 32]
    pitches = [[note.pitch for note in each.tracks[0].notes] for each in (before, score)]
    assert pitches[0] == pitches[1]
    with pytest.raises(gr.Error, match="at least one new part"):
        ann.run("add_parts", [], [])
    with pytest.raises(gr.Error, match="Select bars first"):
        ann.run("write_anew", [])


def test_bars_of_a_part_of_a_file_keep_their_numbers(ann: SessionDriver) -> None:
    ann.prompt("select", [], 3, "6", True)
    ann.run(bars=2, fewest_notes=1)
    value = ann.shown[ann.page.players[0]][0]
    assert json.loads(value["roll"])["first_bar"] == 3
    assert ann.texts[-1].startswith("Continue adds 2 bars after bar 8.")
    ann.select(7, 7).run("write_anew", [])
    assert (ann.session.version.first_bar, ann.session.version.last_bar) == (3, 8)
    assert ann.newest(ann.page.players[0])["selection"] == [7, 7]


def test_a_piece_cannot_exceed_the_maximum_length(
    ann: SessionDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("page.ui.generate_handlers.MAX_NEW_BARS", 3)
    ann.run()
    with pytest.raises(gr.Error, match="at most 3 new bars"):
        ann.run()


# -- Another mix -----------------------------------------------------------------------------------


def test_each_session_renders_the_initial_prompt_in_a_stream_of_its_own(
    ann: SessionDriver, bob: SessionDriver
) -> None:
    streams = []
    for user in (ann, bob):
        listen = user.events.sound.listen(
            0, user.session, user.values.values(), {"position_s": 2.0}
        )
        value = next(listen)[user.page.players[0]]
        streams.append(value["stream"])
        assert (value["cue_frame"], value["on_request"]) == (88_200, True)
        with pytest.raises(RenderError, match="No SoundFont"):
            list(listen)
    assert len({*streams, ann.page.players[0].value["stream"]}) == 3


def test_tracks_are_muted(ann: SessionDriver) -> None:
    ann.run()
    data: dict[str, Any] = {"muted": [0, "x", None], "position_s": 1.0, "bar": 2}
    assert list(ann.events.sound.mute(0, ann.session, ann.values.values(), data)) == []
    assert ann.session.players[0].muted == (0,)  # there is no sound that has to be rendered again


def test_tracks_muted_while_composing_are_silent_from_the_next_bar(
    slow: SessionDriver, watched: Any
) -> None:
    data = {"muted": [0], "position_s": 0.0, "bar": 1}
    shown = []
    for _ in slow.updates("append", bars=6):
        shown.append((watched.bars, slow.shown.get(slow.page.players[0], [{}])[-1]))
        if watched.bars == 3 and not slow.session.players[0].muted:
            list(slow.events.sound.mute(0, slow.session, slow.values.values(), data))
    muted = [bars for bars, value in shown if value.get("muted") == [0]]
    assert muted[0] == 4
    assert shown[-1][1]["complete"]


def test_a_mix_changed_while_composing_starts_a_new_rendering(
    slow: SessionDriver, watched: Any
) -> None:
    renderings = set()
    for _ in slow.updates("append", bars=6):
        renderings |= {each["rendering"] for each in slow.shown.get(slow.page.players[0], [])}
        if watched.bars == 3:
            values = (slow.values | {"reverb": 0.1}).values()
            assert list(slow.events.sound.remix(slow.session, "1.5 0 0 0", *values)) == []
    assert renderings == {0, 1}
    assert slow.session.players[0].from_s == 1.5
