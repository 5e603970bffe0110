"""Corpora of the default weights: how often each is drawn, and the sets that are measured."""

from __future__ import annotations

from training.pretraining.encoded_corpora import EncodedCorpora, evenly

# Relative to the number of pieces: masses are a third of all notes, bands with drums are few.
CORPUS_WEIGHTS = {
    "nifc-sacred": 0.25,
    "nifc-secular": 0.5,
    "nifc-keyboard": 0.7,
    "groove-drums": 0.5,
    "open-hymnal": 2.0,
    "openewld-pd": 4.0,
    "freedoom": 5.0,
    "blasphemer": 5.0,
    "easyrpg": 5.0,
    "simutrans": 5.0,
    "lmms-demos": 5.0,
    "pop909": 0.0,  # songs in copyright; the next three are share-alike
    "folk-abc": 0.0,
    "mutopia-by-sa": 0.0,
    "lmms-demos-by-sa": 0.0,
}
BAND_CORPORA = ("freedoom", "blasphemer", "easyrpg", "simutrans", "lmms-demos")
OLDER_CORPORA = (
    "openscore-lieder",
    "openscore-quartets",
    "openscore-orchestra",
    "mutopia-pd-by",
    "openewld-pd",
)


def held_out_sets(corpora: EncodedCorpora, split: str, count: int) -> dict[str, list[int]]:
    """Return at most `count` pieces of older corpora, of bands with drums, and of newer corpora."""
    known = set(corpora.corpora)
    rest = [
        name
        for name in corpora.corpora
        if name not in {*BAND_CORPORA, *OLDER_CORPORA, "groove-drums"}
        and CORPUS_WEIGHTS.get(name, 1.0) > 0
    ]
    groups = {"older": OLDER_CORPORA, "bands": BAND_CORPORA, "newer": rest}
    sets = {
        name: corpora.pieces_of(split, [each for each in group if each in known])
        for name, group in groups.items()
    }
    return {name: evenly(pieces, count) for name, pieces in sets.items() if pieces}
