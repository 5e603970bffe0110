"""Resolution of a model's revision on the Hub to a commit that is public.

Requests are sent without a token, because a Space has none.
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
from musiclstm.errors import PublishError
from musiclstm.model import BAR_SCORE_FILE, FACTS_FILE, MODEL_TYPE, WEIGHTS_FILE
from musiclstm.tokens import TOKENIZER_FILE

_REQUIRED_FILES = ("config.json", WEIGHTS_FILE, TOKENIZER_FILE)
_LOADED_FILES = (*_REQUIRED_FILES, "generation_config.json", FACTS_FILE, BAR_SCORE_FILE)


@dataclass(frozen=True)
class PinnedModel:
    """A model at one commit.

    Args:
        name: Hub id, such as "user/model".
        revision: Commit, 40 hexadecimal digits.
        files: Those of its files that the page loads.
    """

    name: str
    revision: str
    files: tuple[str, ...]


def pin_model(name: str, revision: str | None = None) -> PinnedModel:
    """Resolve a revision to a commit, without downloading the weights.

    Args:
        name: Hub id.
        revision: Branch, tag or commit. None: the newest commit of the main branch.

    Raises:
        PublishError: There is no such public model, or it is not a musiclstm model.
    """
    api = HfApi(token=False)
    try:
        info = api.model_info(name, revision=revision)
        found = [each.rfilename for each in info.siblings or []]
        _check_files(name, missing=[file for file in _REQUIRED_FILES if file not in found])
        config = api.hf_hub_download(name, "config.json", revision=info.sha)
    except HFValidationError as error:
        raise PublishError(
            f"{name!r} is not a valid name of a model on the Hub; use 'user/model'."
        ) from error
    except GatedRepoError as error:
        raise PublishError(
            f"{name!r} is a gated model, which a Space cannot load; change that in its settings on "
            "the Hub."
        ) from error
    except RevisionNotFoundError as error:
        raise PublishError(
            f"{name!r} has no revision {revision!r}; use a branch, a tag or a commit that its page "
            "on the Hub lists."
        ) from error
    except RepositoryNotFoundError as error:
        raise PublishError(
            f"There is no public model {name!r} on the Hub; check the name, or make it public, "
            "because a Space has no token."
        ) from error
    except (TRANSPORT_ERROR, OSError) as error:
        raise PublishError(
            f"The Hub cannot be asked about {name!r} ({type(error).__name__}); check the "
            "connection and run the command again."
        ) from error
    _check_model_type(name, Path(config))
    files = tuple(file for file in _LOADED_FILES if file in found)
    return PinnedModel(name, str(info.sha), files)


def _check_files(name: str, *, missing: list[str]) -> None:
    if missing:
        raise PublishError(
            f"{name!r} has no {' and no '.join(missing)}, so it is not a musiclstm model; use one "
            "that hub.publish sent."
        )


def _check_model_type(name: str, config: Path) -> None:
    try:
        model_type = json.loads(config.read_text(encoding="utf-8"))["model_type"]
    except (ValueError, TypeError, KeyError):
        model_type = None
    if model_type != MODEL_TYPE:
        raise PublishError(
            f"{name!r} is a model of type {model_type!r}, not {MODEL_TYPE!r}; use "
            "one that hub.publish sent."
        )
