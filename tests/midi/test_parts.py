"""Every track alone: its notes, and what all tracks share."""

from __future__ import annotations

import re

from symusic import KeySignature, Note, Score, Tempo, TimeSignature, Track

from musiclstm.midi.parts import split_parts


def scored(*tracks: tuple[str, int, bool]):
    score = Score(480)
    score.tempos.extend([Tempo(0, 90), Tempo(960, 120)])
    score.time_signatures.append(TimeSignature(0, 3, 4))
    score.key_signatures.append(KeySignature(0, -3, 1))
    for number, (name, program, is_drum) in enumerate(tracks):
        track = Track(name, program, is_drum)
        track.notes.append(Note(480 * number, 480, 60 + number, 80))
        score.tracks.append(track)
    return score


def test_every_track_is_there_alone_with_tempo_meter_and_key():
    score = scored(("a", 0, False), ("b", 73, False), ("c", 0, True))
    parts = split_parts(score)
    assert list(parts) == ["Acoustic Grand Piano", "Flute", "Drums"]
    for part, track in zip(parts.values(), score.tracks, strict=True):
        assert list(part.tracks) == [track]
        assert part.tempos == score.tempos
        assert part.time_signatures == score.time_signatures
        assert part.key_signatures == score.key_signatures
        assert part.ticks_per_quarter == 480


def test_names_are_unique_and_plain_whatever_the_tracks_are_called():
    score = scored(*((name, 40, False) for name in ("../../x", "<script>", "\0", "Violin", "")))
    names = list(split_parts(score))
    assert names == ["Violin", "Violin (2)", "Violin (3)", "Violin (4)", "Violin (5)"]
    assert all(re.fullmatch(r"[A-Za-z0-9 ()-]+", name) for name in names)


def test_tracks_without_notes_are_left_out():
    score = scored(("a", 0, False))
    score.tracks.append(Track("silent", 40, False))
    assert list(split_parts(score)) == ["Acoustic Grand Piano"]


def test_changing_a_part_leaves_the_score_alone():
    score = scored(("a", 0, False))
    before = score.copy()
    (part,) = split_parts(score).values()
    part.tracks[0].notes.append(Note(0, 1, 1, 1))
    part.tempos.append(Tempo(5, 60))
    assert score == before


def test_all_parts_together_are_the_piece(invented):
    score = invented(programs=(0, 40, 40, -1))
    parts = split_parts(score)
    assert [list(part.tracks[0].notes) for part in parts.values()] == [
        list(track.notes) for track in score.tracks
    ]


def test_other_time_units_are_taken():
    assert list(split_parts(scored(("a", 73, False)).to("quarter"))) == ["Flute"]
