from symusic.core import NoteTick, ScoreTick, TempoTick, TrackTick

from musiclstm.midi.score_tables import write_midi


def test_all_tracks_end_with_the_last_tempo_after_the_last_note() -> None:
    score = ScoreTick(480)
    score.tempos.append(TempoTick(580, 120))
    score.tracks.append(TrackTick("", 0, False))
    score.tracks[0].notes.append(NoteTick(0, 480, 60, 80))
    end_of_track = b"\xff\x2f\x00"
    assert write_midi(score).endswith(bytes([100]) + end_of_track)
    assert write_midi(score, end_tick=490).endswith(bytes([10]) + end_of_track)
