"""Generation of music: prompts, constraints, sampling, decode loop, compositions and recipes.

Names are imported at first use, so that a process that only reads settings starts fast.
"""

from typing import TYPE_CHECKING

from musiclstm._lazy import lazy_imports

if TYPE_CHECKING:
    from musiclstm.core.sequence import MAX_ROWS
    from musiclstm.generation.bar_plan import Surprise
    from musiclstm.generation.composer import Composer
    from musiclstm.generation.composition import Composition, GeneratedBar, NoteProbability
    from musiclstm.generation.constraints import (
        KEY_OF_PROMPT,
        MAX_BPM,
        MAX_NOTES_AT_ONCE,
        MIN_BPM,
        SCALES,
        Constraints,
    )
    from musiclstm.generation.decoding.bar_rules import bar_rules
    from musiclstm.generation.decoding.bar_score import write_bar_score
    from musiclstm.generation.decoding.sampling import MAX_SEED, Sampling
    from musiclstm.generation.instrument_names import read_programs
    from musiclstm.generation.packed_checkpoint import PackedCheckpoint, load_packed
    from musiclstm.generation.part_editor import EditedPiece
    from musiclstm.generation.prompt import (
        DEFAULT_BARS,
        FILE,
        MAX_BARS,
        Prompt,
        PromptSource,
        Selection,
    )
    from musiclstm.generation.ranking import REASONS, Assessment, is_degenerate
    from musiclstm.generation.recipe import LINK_DICTIONARY, Recipe, read_recipe
    from musiclstm.generation.references import read_references, reference_ids

__all__ = [
    "DEFAULT_BARS",
    "FILE",
    "KEY_OF_PROMPT",
    "LINK_DICTIONARY",
    "MAX_BARS",
    "MAX_BPM",
    "MAX_NOTES_AT_ONCE",
    "MAX_ROWS",
    "MAX_SEED",
    "MIN_BPM",
    "REASONS",
    "SCALES",
    "Assessment",
    "Composer",
    "Composition",
    "Constraints",
    "EditedPiece",
    "GeneratedBar",
    "NoteProbability",
    "PackedCheckpoint",
    "Prompt",
    "PromptSource",
    "Recipe",
    "Sampling",
    "Selection",
    "Surprise",
    "bar_rules",
    "is_degenerate",
    "load_packed",
    "read_programs",
    "read_recipe",
    "read_references",
    "reference_ids",
    "write_bar_score",
]

__getattr__, __dir__ = lazy_imports(
    __name__,
    {
        "bar_plan": ("Surprise",),
        "composer": ("MAX_ROWS", "Composer"),
        "composition": ("Composition", "GeneratedBar", "NoteProbability"),
        "constraints": (
            "KEY_OF_PROMPT",
            "MAX_BPM",
            "MAX_NOTES_AT_ONCE",
            "MIN_BPM",
            "SCALES",
            "Constraints",
        ),
        "decoding.sampling": ("MAX_SEED", "Sampling"),
        "decoding.bar_rules": ("bar_rules",),
        "decoding.bar_score": ("write_bar_score",),
        "instrument_names": ("read_programs",),
        "packed_checkpoint": ("PackedCheckpoint", "load_packed"),
        "part_editor": ("EditedPiece",),
        "prompt": ("DEFAULT_BARS", "FILE", "MAX_BARS", "Prompt", "PromptSource", "Selection"),
        "ranking": ("REASONS", "Assessment", "is_degenerate"),
        "recipe": ("LINK_DICTIONARY", "Recipe", "read_recipe"),
        "references": ("read_references", "reference_ids"),
    },
)
