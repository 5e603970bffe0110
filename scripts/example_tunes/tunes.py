"""Notation of the bundled example pieces, with composers and rights.

The composers of seven pieces died more than a hundred years ago; the rock riff was written for this
project. All arrangements were made for this project and have its licence.

Notation: space-separated events, with durations in units of the tune.

- `C4` is middle C; `F#4` and `Bb3` have accidentals; drums are keys of `DRUM_PITCHES`.
- `C4+E4+G4` is a chord; `-` is a rest.
- `/3` sets the duration to three units; without it, the previous duration applies.
- `|` is a bar line; every bar must be full.
- `~` after a note ties it to the next one of the same pitch.
"""

from __future__ import annotations

from dataclasses import dataclass

DRUMS = -1
DRUM_PITCHES = {
    "K": 36,
    "S": 38,
    "H": 42,
    "O": 46,
    "T": 45,
    "C": 49,
}  # kick, snare, hats, tom, crash


@dataclass(frozen=True)
class Part:
    """Part of a tune.

    Args:
        name: Track name.
        program: General MIDI program 0..127, or -1 for drums.
        velocity: Base velocity, 1..127.
        music: Notation.
    """

    name: str
    program: int
    velocity: int
    music: str


@dataclass(frozen=True)
class Tune:
    """Example piece.

    Args:
        title: Title without the composer.
        composer: Last name.
        rights: Why the piece may be used freely.
        file: Name of the .mid file.
        bpm: Quarter notes per minute.
        meter: Numerator and denominator.
        sharps: Sharps of the key signature; negative for flats.
        minor: Whether the key is minor.
        unit: Note value of a unit: 8 for eighth notes.
        parts: In score order.
    """

    title: str
    composer: str
    rights: str
    file: str
    bpm: int
    meter: tuple[int, int]
    sharps: int
    minor: bool
    unit: int
    parts: tuple[Part, ...]


MINUET = Tune(
    title="Minuet in G",
    composer="Petzold",
    rights="Christian Petzold (1677-1733), copied into the 1725 notebook for Anna Magdalena Bach.",
    file="minuet_in_g.mid",
    bpm=116,
    meter=(3, 4),
    sharps=1,
    minor=False,
    unit=8,
    parts=(
        Part(
            "Right hand",
            0,
            84,
            """
            D5/2 G4/1 A4 B4 C5 | D5/2 G4 G4 | E5 C5/1 D5 E5 F#5 | G5/2 G4 G4 |
            C5 D5/1 C5 B4 A4 | B4/2 C5/1 B4 A4 G4 | F#4/2 G4/1 A4 B4 G4 | A4/6 |
            """,
        ),
        Part(
            "Left hand",
            0,
            68,
            """
            G3+B3+D4/4 A3/2 | B3/6 | C4 | B3 |
            A3 | G3 | D4/2 B3 G3 | D4 D3/1 C4 B3 A3 |
            """,
        ),
    ),
)

ODE_TO_JOY = Tune(
    title="Ode to Joy",
    composer="Beethoven",
    rights="Ludwig van Beethoven (1770-1827), Ninth Symphony (1824); arranged for four strings.",
    file="ode_to_joy.mid",
    bpm=108,
    meter=(4, 4),
    sharps=2,
    minor=False,
    unit=8,
    parts=(
        Part(
            "Violin I",
            40,
            84,
            """
            F#5/2 F#5 G5 A5 | A5 G5 F#5 E5 | D5 D5 E5 F#5 | F#5/3 E5/1 E5/4 |
            F#5/2 F#5 G5 A5 | A5 G5 F#5 E5 | D5 D5 E5 F#5 | E5/3 D5/1 D5/4 |
            """,
        ),
        Part(
            "Violin II",
            40,
            70,
            """
            D5/4 C#5 | D5/2 C#5 D5 A4 | B4 B4 C#5 D5 | D5/3 C#5/1 C#5/4 |
            D5/4 C#5 | D5/2 C#5 D5 A4 | B4 B4 C#5 D5 | C#5/3 A4/1 A4/4 |
            """,
        ),
        Part(
            "Viola",
            41,
            68,
            """
            A4/4 E4 | A4/2 A4 A4 E4 | F#4 G4 A4 A4 | A4/4 E4 |
            A4/4 E4 | A4/2 A4 A4 E4 | F#4 G4 A4 A4 | G4/4 F#4 |
            """,
        ),
        Part(
            "Cello",
            42,
            74,
            """
            D3/4 A2 | F#3/2 E3 D3 C#3 | B2 G2 A2 D3 | A2/4 A2 |
            D3/4 A2 | F#3/2 E3 D3 C#3 | B2 G2 A2 D3 | A2/4 D2 |
            """,
        ),
    ),
)

ENTERTAINER = Tune(
    title="The Entertainer",
    composer="Joplin",
    rights="Scott Joplin (1868-1917), published in 1902.",
    file="the_entertainer.mid",
    bpm=76,
    meter=(2, 4),
    sharps=0,
    minor=False,
    unit=16,
    parts=(
        Part(
            "Right hand",
            0,
            86,
            """
            D5+D6/1 E5+E6 C5+C6 A4+A5/2 B4+B5/1 G4+G5/2 |
            D4+D5/1 E4+E5 C4+C5 A3+A4/2 B3+B4/1 G3+G4/2 |
            D3+D4/1 E3+E4 C3+C4 A2+A3/2 B2+B3/1 A2+A3 Ab2+Ab3 |
            G2+G3/2 -/2 B3+D4+G4/2 D4/1 D#4 |
            E4/1 C5/2 E4/1 C5/2 E4/1 C5~ |
            C5/4 -/1 C5+C6 D5+D6 D#5+D#6 |
            E5+E6/1 C5+C6 D5+D6 E5+E6/2 B4+B5/1 D5+D6/2 |
            C5+C6/4 -/4 |
            """,
        ),
        Part(
            "Left hand",
            0,
            72,
            """
            -/8 | - | - | G1/2 - G1+G2 - |
            C2+C3/2 E3+G3+C4 Bb1+Bb2 E3+G3+Bb3 | A1+A2 F3+A3 G1+G2 E3+G3+C4 |
            E2+E3 G3+C4 G1+G2 F3+G3+B3 | C2+C3 E3+G3 C2/4 |
            """,
        ),
    ),
)

GREENSLEEVES = Tune(
    title="Greensleeves",
    composer="traditional",
    rights="English, printed about 1580; author unknown.",
    file="greensleeves.mid",
    bpm=100,
    meter=(6, 8),
    sharps=0,
    minor=True,
    unit=16,
    parts=(
        Part(
            "Flute",
            73,
            84,
            """
            -/10 A4/2 |
            C5/4 D5/2 E5/3 F#5/1 E5/2 | D5/4 B4/2 G4/3 A4/1 B4/2 |
            C5/4 A4/2 A4/3 G#4/1 A4/2 | B4/4 G#4/2 E4/4 A4/2 |
            C5/4 D5/2 E5/3 F#5/1 E5/2 | D5/4 B4/2 G4/3 A4/1 B4/2 |
            C5/3 B4/1 A4/2 G#4/3 F#4/1 G#4/2 | A4/6 A4/4 -/2 |
            """,
        ),
        Part(
            "Guitar",
            24,
            68,
            """
            A2/2 E3 A3 C4 A3 E3 |
            A2 E3 A3 C4 A3 E3 | G2 D3 G3 B3 G3 D3 | A2 E3 A3 C4 A3 E3 | E2 B2 E3 G#3 E3 B2 |
            A2 E3 A3 C4 A3 E3 | G2 D3 G3 B3 G3 D3 | F2 C3 A3 E2 B2 G#3 | A2 E3 A3 A2+E3+C4/6 |
            """,
        ),
    ),
)

CRADLE_SONG = Tune(
    title="Cradle Song",
    composer="Brahms",
    rights="Johannes Brahms (1833-1897), Wiegenlied op. 49 no. 4 (1868); accompaniment simplified.",
    file="cradle_song.mid",
    bpm=84,
    meter=(3, 4),
    sharps=-1,
    minor=False,
    unit=8,
    parts=(
        Part(
            "Voice",
            68,
            82,
            """
            -/4 A4/1 A4 |
            C5/3 A4/1 A4/2 | C5/4 A4/1 C5 | F5/2 E5/3 D5/1 | D5/2 C5 G4/1 A4 |
            Bb4/3 G4/1 G4/2 | Bb4/4 G4/1 Bb4 | E5/1 D5 C5/2 E5 | F5/4 -/2 |
            """,
        ),
        Part(
            "Piano, right hand",
            0,
            62,
            """
            -/2 A3+C4 A3+C4 |
            - A3+C4 A3+C4 | - A3+C4 A3+C4 | - Bb3+C4 Bb3+C4 | - A3+C4 A3+C4 |
            - Bb3+E4 Bb3+E4 | - Bb3+E4 Bb3+E4 | - Bb3+C4 Bb3+C4 | - A3+C4 A3+C4 |
            """,
        ),
        Part(
            "Piano, left hand",
            0,
            64,
            """
            F2/6 | F2 | F2 | F2/2 C3/4 | F2/6 | C3 | G2 | C3/2 C2/4 | F2/6 |
            """,
        ),
    ),
)

CANON = Tune(
    title="Canon in D",
    composer="Pachelbel",
    rights="Johann Pachelbel (1653-1706), canon for three violins and bass.",
    file="canon_in_d.mid",
    bpm=60,
    meter=(4, 4),
    sharps=2,
    minor=False,
    unit=8,
    parts=(
        Part(
            "Violin I",
            40,
            82,
            """
            -/8 | - |
            F#5/2 E5 D5 C#5 | B4 A4 B4 C#5 |
            D5 C#5 B4 A4 | G4 F#4 G4 E4 |
            D4/1 F#4 A4 G4 F#4 D4 F#4 E4 | D4 B3 D4 A4 G4 B4 A4 G4 |
            """,
        ),
        Part(
            "Violin II",
            40,
            78,
            """
            -/8 | - | - | - |
            F#5/2 E5 D5 C#5 | B4 A4 B4 C#5 |
            D5 C#5 B4 A4 | G4 F#4 G4 E4 |
            """,
        ),
        Part(
            "Violin III",
            40,
            76,
            """
            -/8 | - | - | - | - | - |
            F#5/2 E5 D5 C#5 | B4 A4 B4 C#5 |
            """,
        ),
        Part(
            "Cello",
            42,
            72,
            """
            D3/2 A2 B2 F#2 | G2 D2 G2 A2 | D3 A2 B2 F#2 | G2 D2 G2 A2 |
            D3 A2 B2 F#2 | G2 D2 G2 A2 | D3 A2 B2 F#2 | G2 D2 G2 A2 |
            """,
        ),
    ),
)

FUR_ELISE = Tune(
    title="Für Elise",
    composer="Beethoven",
    rights="Ludwig van Beethoven (1770-1827), bagatelle in A minor (1810).",
    file="fur_elise.mid",
    bpm=72,
    meter=(3, 8),
    sharps=0,
    minor=True,
    unit=16,
    parts=(
        Part(
            "Right hand",
            0,
            76,
            """
            -/4 E5/1 D#5 |
            E5 D#5 E5 B4 D5 C5 | A4/2 -/1 C4 E4 A4 | B4/2 -/1 E4 G#4 B4 | C5/2 -/1 E4 E5 D#5 |
            E5 D#5 E5 B4 D5 C5 | A4/2 -/1 C4 E4 A4 | B4/2 -/1 E4 C5 B4 | A4/6 |
            """,
        ),
        Part(
            "Left hand",
            0,
            64,
            """
            -/6 |
            - | A2/1 E3 A3 -/3 | E2/1 E3 G#3 -/3 | A2/1 E3 A3 -/3 |
            -/6 | A2/1 E3 A3 -/3 | E2/1 E3 G#3 -/3 | A2/1 E3 A3/2 -/2 |
            """,
        ),
    ),
)

GARAGE = Tune(
    title="Garage Riff",
    composer="musiclstm",
    rights="Made for this project, under its licence.",
    file="garage_riff.mid",
    bpm=132,
    meter=(4, 4),
    sharps=1,
    minor=True,
    unit=8,
    parts=(
        Part(
            "Lead guitar",
            29,
            84,
            """
            -/8 | - |
            B4/3 A4/1 G4/2 E4 | D4/1 E4 G4 A4 G4/2 -/2 |
            B4/3 D5/1 E5/4 | D5/1 B4 A4 G4 A4/2 -/2 |
            G4/3 A4/1 B4/2 D5 | E5/1 D5 B4 A4 E4/4 |
            """,
        ),
        Part(
            "Rhythm guitar",
            30,
            78,
            """
            E2+B2/1 E2+B2 - E2+B2 G2+D3/2 A2+E3 | E2+B2/1 E2+B2 - E2+B2 D3+A3/2 B2+F#3 |
            E2+B2/1 E2+B2 - E2+B2 G2+D3/2 A2+E3 | E2+B2/1 E2+B2 - E2+B2 D3+A3/2 B2+F#3 |
            E2+B2/1 E2+B2 - E2+B2 G2+D3/2 A2+E3 | E2+B2/1 E2+B2 - E2+B2 D3+A3/2 A2+E3 |
            C3+G3/1 C3+G3 - C3+G3 D3+A3/2 D3+A3 | E2+B2/1 E2+B2 - E2+B2 E2+B2/4 |
            """,
        ),
        Part(
            "Bass",
            34,
            82,
            """
            E1/1 E1 - E1 G1 G1 A1 A1 | E1 E1 - E1 D2 D2 B1 B1 |
            E1 E1 - E1 G1 G1 A1 A1 | E1 E1 - E1 D2 D2 B1 B1 |
            E1 E1 - E1 G1 G1 A1 A1 | E1 E1 - E1 D2 D2 A1 A1 |
            C2 C2 - C2 D2 D2 D2 D2 | E1 E1 - E1 E1/4 |
            """,
        ),
        Part(
            "Drums",
            DRUMS,
            86,
            """
            K+C/1 H S+H H K+H K+H S+H H | K+H H S+H K+H H K+H S+H H |
            K+H H S+H H K+H K+H S+H H | K+H H S+H K+H H K+H S+H O |
            K+C H S+H H K+H K+H S+H H | K+H H S+H K+H H K+H S+H H |
            K+H H S+H H K+H K+H S+H H | K+H H S+H K+H K+S S T T |
            """,
        ),
    ),
)

TUNES = (MINUET, ODE_TO_JOY, ENTERTAINER, GREENSLEEVES, CRADLE_SONG, CANON, FUR_ELISE, GARAGE)
