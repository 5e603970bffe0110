import numpy as np
import pytest

from musiclstm.model.step_features import DRUMS
from training.data.band_arrangement import DrumGrooves, arrange_for_band
from training.data.bar_blocks import PartId, PieceBlocks

KICK, SNARE, TOM = 36, 38, 45


@pytest.fixture
def grooves(vocabulary):
    v = vocabulary
    plain, fill = v.block(-1, (0, KICK), (12, SNARE)), v.block(-1, *((i, TOM) for i in range(6)))
    return DrumGrooves([np.array([*v.bar(plain), *v.bar(plain), *v.bar(fill)])], v.table)


def arranged(vocabulary, ids, grooves, seed=0):
    piece = PieceBlocks.from_ids(np.array(ids), vocabulary.table)
    return arrange_for_band(piece, grooves, vocabulary.table, np.random.default_rng(seed))


def test_a_piano_piece_becomes_lead_chords_bass_and_drums(vocabulary, grooves):
    v = vocabulary
    bars = [v.bar(v.block(0, (0, 40), (0, 60), (0, 64), (0, 76))) for _ in range(8)]
    band = arranged(v, [t for bar in bars for t in bar], grooves)
    assert len(band.order) == 4
    assert band.order[-1] == PartId(DRUMS, 0)
    assert 32 <= band.order[2].program <= 39
    lead, chords, bass, drums = (band.bars[0].blocks[part] for part in band.order)
    assert lead == v.block(0, (0, 76))[1:]
    assert chords == v.block(0, (0, 60), (0, 64))[1:]
    assert bass == v.block(0, (0, 40))[1:]
    assert drums


def test_the_last_bar_of_a_phrase_has_the_fill(vocabulary, grooves):
    v = vocabulary
    bars = [v.bar(v.block(0, (0, 60))) for _ in range(16)]
    band = arranged(v, [t for bar in bars for t in bar], grooves)
    fill = v.block(-1, *((i, TOM) for i in range(6)))[1:]
    assert band.bars[7].blocks[PartId(DRUMS, 0)] == fill


def test_a_piece_in_another_meter_stays_as_it_is(vocabulary, grooves):
    v = vocabulary
    waltz = v.bar(v.block(0, (0, 60)), meter="3/4")
    assert arranged(v, waltz, grooves).order == [PartId(0, 0)]


def test_a_piece_with_drums_stays_as_it_is(vocabulary, grooves):
    v = vocabulary
    bar = v.bar(v.block(0, (0, 60)), v.block(-1, (0, KICK)))
    assert arranged(v, bar, grooves).to_ids(v.table).tolist() == bar
