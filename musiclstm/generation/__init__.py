"""Generation of music: prompts, constraints, sampling, decode loop, compositions and recipes.

Names are imported at first use, because `Composer` imports torch, which takes seconds.
"""

from typing import TYPE_CHECKING

from musiclstm._lazy import lazy_imports

if TYPE_CHECKING:
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
    from musiclstm.generation.decoding.inference import MAX_ROWS, InferenceModel
    from musiclstm.generation.decoding.sampling import MAX_SEED, Sampling
    from musiclstm.generation.prompt import FILE, MAX_BARS, Prompt, PromptSource, Selection
    from musiclstm.generation.recipe import Recipe, read_recipe

__all__ = [
    "FILE",
    "KEY_OF_PROMPT",
    "MAX_BARS",
    "MAX_BPM",
    "MAX_NOTES_AT_ONCE",
    "MAX_ROWS",
    "MAX_SEED",
    "MIN_BPM",
    "SCALES",
    "Composer",
    "Composition",
    "Constraints",
    "GeneratedBar",
    "InferenceModel",
    "NoteProbability",
    "Prompt",
    "PromptSource",
    "Recipe",
    "Sampling",
    "Selection",
    "Surprise",
    "read_recipe",
]

__getattr__, __dir__ = lazy_imports(
    __name__,
    {
        "bar_plan": ("Surprise",),
        "composer": ("Composer",),
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
        "decoding.inference": ("MAX_ROWS", "InferenceModel"),
        "prompt": ("FILE", "MAX_BARS", "Prompt", "PromptSource", "Selection"),
        "recipe": ("Recipe", "read_recipe"),
    },
)
