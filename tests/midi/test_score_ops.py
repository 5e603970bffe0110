"""Splitting scores into parts. Slices are tested through `musiclstm.generation`."""

from __future__ import annotations

import re

from symusic import KeySignature, Note, Score, Tempo, TimeSignature, Track

from musiclstm.midi.score_ops import split_parts


def score_of(*tracks: tuple[str, int, bool]):
    score = Score(480)
    score.tempos.extend([Tempo(0, 90), Tempo(960, 120)])
    score.time_signatures.append(TimeSignature(0, 3, 4))
    score.key_signatures.append(KeySignature(0, -3, 1))
    for number, (name, program, is_drum) in enumerate(tracks):
        track = Track(name, program, is_drum)
        track.notes.append(Note(480 * number, 480, 60 + number, 80))
        score.tracks.append(track)
    return score


def test_each_part_has_one_track_and_all_tempos_meters_and_keys():
    score = score_of(("a", 0, False), ("b", 73, False), ("c", 0, True))
    before = score.copy()
    parts = split_parts(score)
    assert list(parts) == ["Acoustic Grand Piano", "Flute", "Drums"]
    for part, track in zip(parts.values(), score.tracks, strict=True):
        assert list(part.tracks) == [track]
        assert part.tempos == score.tempos
        assert part.time_signatures == score.time_signatures
        assert part.key_signatures == score.key_signatures
        assert part.ticks_per_quarter == 480
        part.tracks[0].notes.append(Note(0, 1, 1, 1))
        part.tempos.append(Tempo(5, 60))
    assert score == before  # parts are copies


def test_names_are_unique_and_can_be_file_names():
    names = ("../../x", "<script>", "\0", "Violin", "")
    parts = list(split_parts(score_of(*((name, 40, False) for name in names))))
    assert parts == ["Violin", "Violin (2)", "Violin (3)", "Violin (4)", "Violin (5)"]
    assert all(re.fullmatch(r"[A-Za-z0-9 ()-]+", name) for name in parts)


def test_tracks_without_notes_are_left_out_and_any_time_unit_is_accepted():
    score = score_of(("a", 73, False))
    score.tracks.append(Track("silent", 40, False))
    assert list(split_parts(score)) == list(split_parts(score.to("quarter"))) == ["Flute"]
