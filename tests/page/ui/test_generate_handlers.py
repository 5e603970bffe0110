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
from tests.page.session_driver import SessionDriver, build_events, text_of

MINUET = "Minuet in G (Petzold)"


def test_every_bar_updates_the_status(ann: SessionDriver) -> None:
    texts = [re.sub(", about.*", "", text) for text in ann.run(bars=3).texts]
    assert list(dict.fromkeys(texts))[:-1] == [
        "Reading the prompt …", *(f"Composing: bar {bar} of 3" for bar in (1, 2, 3))
    ]  # fmt: skip
    assert ann.texts[-1].startswith(f"3 bars after 8 bars of {MINUET}.")


def test_progress_shows_bars_and_the_time_left() -> None:
    progress = html.progress("Composing", 2, 8, 3.2)
    assert text_of(progress) == "Composing: bar 2 of 8, about 3 s left"
    assert 'value="2" max="8"' in progress


def test_the_piano_roll_grows_to_its_planned_width(ann: SessionDriver) -> None:
    ann.run(bars=3, fewest_notes=1)  # the first bar may be silent by chance
    values = ann.shown[ann.page.takes[0].player]
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


def test_a_locked_random_seed_composes_the_same_piece(ann: SessionDriver) -> None:
    first = ann.run().piece
    shown = ann.newest(ann.page.controls["random_seed"])
    assert shown == str(first.sampling.seed)
    again = ann.run(random_seed=shown, locked=True).piece
    assert again.to_midi() == first.to_midi()
    assert ann.run(locked=False).piece.sampling.seed != first.sampling.seed


def test_the_page_composes_what_the_library_composes(
    ann: SessionDriver, tiny_composer: Composer
) -> None:
    piece = ann.run(random_seed="7", locked=True, adventurous=1.2).piece
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
    assert ann.session.history.version is None
    assert ann.session.job is None


def test_contradicting_constraints_are_rejected_and_the_next_job_works(ann: SessionDriver) -> None:
    with pytest.raises(gr.Error, match="lowest"):
        ann.run(lowest=80, highest=40)
    with pytest.raises(gr.Error, match="ending"):
        ann.run(lowest=0, highest=127, instruments=[-1], ending=True)
    assert ann.run(instruments=[], ending=False).piece.bars == 2


def test_a_piece_can_start_from_nothing(ann: SessionDriver) -> None:
    assert ann.run("start_from_nothing").texts[-1].startswith("2 bars from nothing.")
    assert not ann.piece.prompt_bars


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
    assert len(user.session.history.versions) == min(1, after_bars)
    idle = user.events.generate.idle_state(user.session)
    assert idle[user.page.stop]["interactive"] is False


# -- Stop, leave, start again ----------------------------------------------------------------------


def test_stop_keeps_the_bars_so_far(slow: SessionDriver, watched: Any) -> None:
    for _ in slow.updates("continue_once", bars=64):
        if watched.bars == 3:
            slow.session.stop_job()
    assert slow.piece.bars == watched.bars == 3
    assert slow.texts[-1].startswith("3 bars after")


def test_closing_the_updates_stops_composing(slow: SessionDriver, watched: Any) -> None:
    updates = slow.updates("continue_once", bars=64)
    for _ in range(3):
        next(updates)
    updates.close()  # type: ignore[attr-defined]
    assert watched.ended.is_set()
    assert watched.bars < 64
    assert slow.session.job is None
    assert slow.run(bars=1).piece.bars == 1


def test_a_new_job_replaces_the_running_one(slow: SessionDriver, watched: Any) -> None:
    watched.pause_s = 0.05
    first = SessionDriver(slow.events, slow.session)
    running = threading.Thread(target=first.run, kwargs={"endless": True})
    running.start()
    until(lambda: watched.bars >= 3)
    assert slow.run(bars=2).piece.bars == 2
    running.join(timeout=30)
    assert not running.is_alive()
    early, late = slow.session.history.versions
    assert early.piece.bars >= 3
    assert late.piece.bars == 2


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
    assert copy.deepcopy(ann.session).history.version is None


# -- Takes and continuations -----------------------------------------------------------------------


def test_four_takes_are_four_versions_and_one_is_kept(ann: SessionDriver) -> None:
    ann.run("continue_four", random_seed="7", locked=True)
    versions = ann.session.history.versions
    found = [(version.letter, version.piece.sampling.seed) for version in versions]
    assert found == [("A", 7), ("B", 8), ("C", 9), ("D", 10)]
    assert f"the buttons below use {'ABCD'[ann.piece.sampling.seed - 7]}" in ann.texts[-1]
    assert "Keep the one" not in ann.run("keep", 2).texts[-1]
    assert [version.letter for version in ann.session.history.versions] == ["C"]
    captions = [ann.newest(take.caption) for take in ann.page.takes]
    assert "random seed 9" in text_of(captions[0])
    assert captions[1:] == ["", "", ""]


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
    ("scores", "places"),
    [
        ([1.0, 4.0, 3.0, 4.0], [4, 1, 3, 2]),
        ([None, 1.0, None, 2.0], [None, 2, None, 1]),
        ([None, None, 3.0, None], [None, None, 1, None]),
        ([None] * 4, [1, 2, 3, 4]),
    ],
)
def test_complete_takes_are_ordered_with_reasons_and_without_collapsed_ones(
    scores: list[float | None], places: list[int | None], tiny_composer: Composer
) -> None:
    user = SessionDriver(build_events(JudgingComposer(tiny_composer, scores)))
    user.run("continue_four", random_seed="7", locked=True)
    captions = [user.shown[take.caption] for take in user.page.takes]
    for before in (each[:-1] for each in captions):
        assert not any("place-" in html or "why" in html for html in before)
    for place, score, found in zip(places, scores, captions, strict=True):
        if place is None:
            assert found[-1] == ""
        else:
            assert f"place-{place}" in found[-1]
            assert "&lt;b&gt;" in found[-1] or score is None
    kept = [letter for letter, place in zip("ABCD", places, strict=True) if place]
    assert [version.letter for version in user.session.history.versions] == kept
    version = user.session.history.version
    assert version is not None
    assert version.letter == "ABCD"[places.index(1)]
    playing = [player.version is not None for player in user.session.players]
    assert playing == [place is not None for place in places]
    stopped = [user.newest(take.player) is None for take in user.page.takes]
    assert stopped == [place is None for place in places]
    assert ("Keep the one" in user.texts[-1]) == (len(kept) > 1)


def test_one_piece_after_four_takes_empties_the_other_players(ann: SessionDriver) -> None:
    ann.run("continue_four")
    assert "Keep the one" not in ann.run().texts[-1]
    assert [player.version is None for player in ann.session.players] == [False, True, True, True]


def test_continue_after_an_extension_repeats_the_extension(ann: SessionDriver) -> None:
    first = ann.run().piece
    longer = ann.run("extend", bars=3).piece
    assert longer.truncated(2).to_midi() == first.to_midi()
    assert longer.bars == 5
    other = ann.run(bars=1).piece
    assert (other.bars, other.truncated(2).to_midi()) == (3, first.to_midi())
    parents = [(each.number, each.parent) for each in ann.session.history.versions]
    assert parents == [(1, None), (2, 1), (3, 1)]
    ann.prompt("choose_tune", "Ode to Joy (Beethoven)")
    assert ann.run().texts[-1].startswith("1 bar after 8 bars of Ode to Joy")


def test_a_piece_is_composed_again_from_a_bar(ann: SessionDriver) -> None:
    first = ann.run(bars=4).piece
    second = ann.regenerate(3).piece
    assert second.bars == 4
    assert second.truncated(2).to_midi() == first.truncated(2).to_midi()
    assert second.to_midi() != first.to_midi()


@pytest.mark.parametrize("bar", [0, 3, None, "x", 10**30])
def test_a_bar_that_does_not_exist_is_rejected(ann: SessionDriver, bar: Any) -> None:
    ann.run()
    with pytest.raises(gr.Error, match="the new bars are 1 to 2"):
        ann.regenerate(bar)
    assert ann.session.job is None


def test_a_piece_cannot_exceed_the_maximum_length(
    ann: SessionDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("page.ui.generate_handlers.MAX_NEW_BARS", 3)
    ann.run()
    with pytest.raises(gr.Error, match="at most 3 new bars"):
        ann.run("extend")


# -- Another mix -----------------------------------------------------------------------------------


def test_programs_are_muted(ann: SessionDriver) -> None:
    ann.run()
    data: dict[str, Any] = {"muted": [0, "x", None], "position_s": 1.0, "bar": 2}
    updates = ann.events.generate.mute(0, ann.session, ann.values.values(), data)
    values = [changes[ann.page.takes[0].player] for changes in updates]
    assert values[-1]["muted"] == [0]


def test_programs_muted_while_composing_are_silent_from_the_next_bar(
    slow: SessionDriver, watched: Any
) -> None:
    data = {"muted": [0], "position_s": 0.0, "bar": 1}
    shown = []
    for _ in slow.updates("continue_once", bars=6):
        shown.append((watched.bars, slow.shown.get(slow.page.takes[0].player, [{}])[-1]))
        if watched.bars == 3 and not slow.session.players[0].muted:
            list(slow.events.generate.mute(0, slow.session, slow.values.values(), data))
    muted = [bars for bars, value in shown if value.get("muted") == [0]]
    assert muted[0] == 4
    assert shown[-1][1]["complete"]


def test_a_mix_changed_while_composing_starts_a_new_rendering(
    slow: SessionDriver, watched: Any
) -> None:
    renderings = set()
    for _ in slow.updates("continue_once", bars=6):
        renderings |= {each["rendering"] for each in slow.shown.get(slow.page.takes[0].player, [])}
        if watched.bars == 3:
            values = (slow.values | {"reverb": 0.1}).values()
            assert list(slow.events.generate.remix(slow.session, "1.5 0 0 0", *values)) == []
    assert renderings == {0, 1}
    assert slow.session.players[0].from_s == 1.5
