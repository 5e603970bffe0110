from typing import ClassVar

import pytest

from musiclstm.model.step_features import TokenTable

DURATIONS = [f"Duration_{beats}.{part}.12" for beats in range(4) for part in range(12)][1:]
NAMES = [
    *("PAD_None", "BOS_None", "EOS_None", "Bar_None"),
    *(f"Pitch_{pitch}" for pitch in range(128)),
    *(f"PitchDrum_{pitch}" for pitch in range(27, 89)),
    *DURATIONS,
    *("TimeSig_4/4", "TimeSig_3/4", "TimeSig_6/8"),
    *(f"Position_{position}" for position in range(72)),
    *("Tempo_120.0", "Tempo_60.0"),
    *(f"Program_{program}" for program in range(-1, 128)),
]


class Vocabulary:
    """Token names to ids, and texts such as `bar 4/4 | flute 0:72` to streams."""

    names = NAMES
    table = TokenTable(NAMES)
    id_of: ClassVar = {name: index for index, name in enumerate(NAMES)}

    def ids(self, *names: str) -> list[int]:
        return [self.id_of[name] for name in names]

    def block(self, program: int, *notes: tuple[int, int]) -> list[int]:
        """A block of notes given as position and pitch, each a quarter long."""
        kind = "PitchDrum" if program == -1 else "Pitch"
        out, last = [f"Program_{program}"], -1
        for position, pitch in notes:
            if position != last:
                out.append(f"Position_{position}")
                last = position
            out += [f"{kind}_{pitch}", "Duration_1.0.12"]
        return self.ids(*out)

    def bar(self, *blocks: list[int], meter: str = "4/4") -> list[int]:
        return [*self.ids("Bar_None", f"TimeSig_{meter}"), *(t for b in blocks for t in b)]


@pytest.fixture
def vocabulary() -> Vocabulary:
    return Vocabulary()
