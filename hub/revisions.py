"""A model's name on the Hub becomes one commit that everybody can load.

Asks without a token, for a Space has none. Reads names and config.json; loads no weights.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from hub.errors import TRANSPORT_ERROR
from musiclstm import MusicLSTMConfig
from musiclstm.errors import PublishError
from musiclstm.model import FACTS_FILE, WEIGHTS_FILE
from musiclstm.tokens import TOKENIZER_FILE

_NEEDED = ("config.json", WEIGHTS_FILE, TOKENIZER_FILE)
_LOADED = (*_NEEDED, "generation_config.json", FACTS_FILE)


@dataclass(frozen=True)
class Pin:
    """One model at one commit.

    Args:
        model: Its Hub id, such as "user/model".
        revision: The commit, 40 hexadecimal digits.
        files: Those of its files that the page loads.
    """

    model: str
    revision: str
    files: tuple[str, ...]


def pin(model: str, revision: str | None = None) -> Pin:
    """Look a model up.

    Args:
        model: Its Hub id.
        revision: A branch, tag or commit; None: the newest commit of its main branch.

    Raises:
        PublishError: There is no such model that everybody can read, or it is none of ours.
    """
    api = HfApi(token=False)
    try:
        info = api.model_info(model, revision=revision)
        found = [each.rfilename for each in info.siblings or []]
        _refuse_other_models(model, missing=[name for name in _NEEDED if name not in found])
        config = api.hf_hub_download(model, "config.json", revision=info.sha)
    except HFValidationError as error:
        raise PublishError(
            f"{model!r} is no name of a model on the Hub; pass one such as 'user/model'."
        ) from error
    except GatedRepoError as error:
        raise PublishError(
            f"{model!r} is given only to those who ask, and a Space cannot ask; open it in its "
            "settings on the Hub."
        ) from error
    except RevisionNotFoundError as error:
        raise PublishError(
            f"{model!r} has no revision {revision!r}; pass a branch, a tag or a commit that its "
            "page on the Hub lists."
        ) from error
    except RepositoryNotFoundError as error:
        raise PublishError(
            f"There is no model {model!r} on the Hub that everybody can read; check the name, or "
            "make it public, for a Space has no token."
        ) from error
    except (TRANSPORT_ERROR, OSError) as error:
        raise PublishError(
            f"The Hub cannot be asked about {model!r} ({type(error).__name__}); check the "
            "connection and run the command again."
        ) from error
    _refuse_other_types(model, Path(config))
    return Pin(model, str(info.sha), tuple(name for name in _LOADED if name in found))


def _refuse_other_models(model: str, *, missing: list[str]) -> None:
    if missing:
        raise PublishError(
            f"{model!r} has no {' and no '.join(missing)}, so it is no model of musiclstm; pass "
            "one that hub.publish sent."
        )


def _refuse_other_types(model: str, config: Path) -> None:
    try:
        kind = json.loads(config.read_text(encoding="utf-8"))["model_type"]
    except (ValueError, TypeError, KeyError):
        kind = None
    if kind != MusicLSTMConfig.model_type:
        raise PublishError(
            f"{model!r} is a model of type {kind!r}, not {MusicLSTMConfig.model_type!r}; pass one "
            "that hub.publish sent."
        )
