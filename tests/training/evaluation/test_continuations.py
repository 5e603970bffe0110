"""Which pieces are continued, and how continuations are read from MIDI files."""

from __future__ import annotations

from dataclasses import replace

import pytest
from symusic.core import TimeSignatureTick

from musiclstm import Sampling
from musiclstm.errors import ScoreError
from training.evaluation import continuations
from training.evaluation.continuations import (
    ContinuationPlan,
    choose_pieces,
    continue_pieces,
    prompted_piece,
    read_continuation,
)

PLAN = ContinuationPlan(
    pieces=3, sequences=2, prompt_bars=2, bars=3, sampling=Sampling(temperature=0.9, seed=7)
)
BAR = 1920


@pytest.fixture(scope="module")
def folder(invented, tmp_path_factory):
    """Two folders of pieces, one of them too short, in one split by a manifest."""
    root = tmp_path_factory.mktemp("corpora")
    lengths = {"a": (6, 6, 6, 6), "b": (6, 1)}
    for corpus, bars in lengths.items():
        (root / corpus).mkdir()
        for number, count in enumerate(bars):
            score = invented(bars=count, programs=(0, 40), seed=10 * number + len(corpus))
            (root / corpus / f"{number}.mid").write_bytes(score.dumps_midi())
        files = ", ".join(f'{{"file": "{n}.mid", "split": "test"}}' for n in range(len(bars)))
        (root / corpus / "MANIFEST.json").write_text(f'{{"pieces": [{files}]}}')
    return root


@pytest.fixture(scope="module")
def piece(invented):
    found = prompted_piece(
        invented(bars=6, programs=(0, 40)), prompt_bars=2, bars=3, name="x/y.mid"
    )
    assert found is not None
    return found


# Pieces.


def test_corpora_alternate_and_short_pieces_are_skipped(folder):
    found = choose_pieces([folder], "test", replace(PLAN, pieces=3))
    assert [each.name.partition("/")[0] for each in found] == ["a", "b", "a"]
    everything = choose_pieces([folder], "test", replace(PLAN, pieces=99))
    assert len(everything) == 5
    assert [each.name for each in everything[:3]] == [each.name for each in found]
    assert "b/1.mid" not in {each.name for each in everything}


def test_a_file_that_cannot_be_read_is_named_and_skipped(folder, tmp_path, capsys):
    broken = tmp_path / "b"
    broken.mkdir()
    (broken / "0.mid").write_bytes(b"no music")
    (broken / "1.mid").write_bytes((folder / "a" / "0.mid").read_bytes())
    manifest = (
        '{"pieces": [{"file": "0.mid", "split": "test"}, {"file": "1.mid", "split": "test"}]}'
    )
    (broken / "MANIFEST.json").write_text(manifest)
    assert [each.name for each in choose_pieces([broken], "test", PLAN)] == ["b/1.mid"]
    assert "skipped b/0.mid: '0.mid' is not a MIDI file" in capsys.readouterr().err


def test_a_piece_is_cut_at_the_bar_lines(invented, piece):
    assert piece.prompt.bar_lines.tolist() == [0, 4, 8]
    assert piece.original.bar_lines.tolist() == [8, 12, 16, 20]
    assert piece.score.note_num() == len(piece.prompt) + len(piece.original)
    assert piece.score.note_num() < invented(bars=6, programs=(0, 40)).note_num()


@pytest.mark.parametrize(
    ("bars", "lengths"), [(24, (8, 16)), (23, (4, 4)), (8, (4, 4)), (7, None), (1, None)]
)
def test_a_piece_of_fewer_bars_has_a_short_prompt_or_is_skipped(invented, bars, lengths):
    found = prompted_piece(invented(bars=bars), prompt_bars=8, bars=16)
    assert (None if found is None else (found.prompt.bars, found.original.bars)) == lengths


def test_short_pieces_can_be_refused(invented):
    score = invented(bars=23)
    assert prompted_piece(score, prompt_bars=8, bars=16, allow_short=False) is None
    assert prompted_piece(score, prompt_bars=8, bars=15, allow_short=False) is not None


def test_a_prompt_needs_two_notes_per_bar_and_two_pitches_besides_drums(invented):
    assert prompted_piece(invented(bars=6, programs=(-1,)), prompt_bars=2, bars=3) is None
    late = invented(bars=6)
    late.tracks[0].notes = [note for note in late.tracks[0].notes if note.time >= 2 * BAR]
    assert prompted_piece(late, prompt_bars=2, bars=3) is None


# Continuations.


def test_a_continuation_is_reproducible_by_its_seed(tiny_composer, piece):
    results = continue_pieces(tiny_composer, [piece, piece], PLAN)
    assert [result.piece for result in results] == [0, 0, 1, 1]
    assert [result.failure for result in results] == 4 * [None]
    again = tiny_composer.compose(
        prompt=piece.score,
        prompt_bars=2,
        bars=3,
        sampling=Sampling(seed=7 + 1 * 2 + 1, temperature=0.9),
    )
    assert len(results[3].music) == again.continuation.note_num() > 0
    assert results[3].music.bar_lines.tolist() == piece.original.bar_lines.tolist()


def test_the_prompt_of_a_continuation_equals_that_of_the_piece(tiny_composer, piece):
    result = continue_pieces(tiny_composer, [piece], PLAN)[0]
    for name in ("onset", "duration", "pitch", "part", "program", "position"):
        assert getattr(result.prompt, name).tolist() == getattr(piece.prompt, name).tolist(), name


def test_silent_bars_at_the_end_are_kept(tiny_composer, piece):
    composition = tiny_composer.compose(prompt=piece.score, prompt_bars=2, bars=3)
    silent = composition.score.copy()
    end = 2 * 4 * silent.ticks_per_quarter
    for track in silent.tracks:
        track.notes = [note for note in track.notes if note.time < end]
    result = read_continuation(replace(composition, score=silent), 0, piece)
    assert len(result.prompt) == len(piece.prompt)
    assert (len(result.music), result.music.bars) == (0, 3)


def test_bar_lines_follow_a_change_of_meter(invented):
    score = invented(bars=6)
    score.time_signatures.append(TimeSignatureTick(2 * BAR, 3, 4))
    assert continuations._bar_lines(score, 4).tolist() == [0, BAR, 2 * BAR, 3360 + BAR, 6720]


def test_notes_missing_in_the_file_are_a_failure(tiny_composer, piece, monkeypatch):
    composition = tiny_composer.compose(prompt=piece.score, prompt_bars=2, bars=3)
    fewer = composition.score.copy()
    notes = fewer.note_num()
    fewer.tracks[0].notes.pop()
    monkeypatch.setattr(continuations, "read_midi", lambda *_, **__: (fewer, None))
    found = read_continuation(composition, 0, piece)
    assert found.failure == f"{notes - 1:,} notes in its file, {notes:,} in the composition"


def test_another_prompt_is_a_failure(tiny_composer, piece, invented):
    other = prompted_piece(invented(bars=6, seed=5), prompt_bars=2, bars=3)
    assert other is not None
    found = read_continuation(
        tiny_composer.compose(prompt=other.score, prompt_bars=2, bars=3), 0, piece
    )
    own, theirs = len(other.prompt), len(piece.prompt)
    assert found.failure == f"{own:,} notes in its prompt, {theirs:,} in that of the piece"


def test_an_unreadable_file_is_silence_and_a_failure(tiny_composer, piece, monkeypatch):
    composition = tiny_composer.compose(prompt=piece.score, prompt_bars=2, bars=3)

    def refuse(*_, **__):
        raise ScoreError("it is broken")

    monkeypatch.setattr(continuations, "read_midi", refuse)
    found = read_continuation(composition, 0, piece)
    assert found.failure == "it is broken"
    assert (len(found.music), found.music.bars) == (0, 3)
