"""Publishing of a checkpoint: `python -m hub.publish CHECKPOINT REPO` makes one commit of it."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from huggingface_hub import constants

from hub.bundle import MAX_SAMPLES, write_bundle
from hub.upload import UploadResult, require_token, upload_folder
from musiclstm.cli import run_command
from musiclstm.errors import MusicLSTMError, PublishError
from musiclstm.model import find_checkpoint

SAMPLES = 3

_REPO = re.compile(r"(?!.*(--|\.\.))[A-Za-z0-9_][\w.-]*/[A-Za-z0-9_][\w.-]*(?<![.-])", re.ASCII)


def main(argv: Sequence[str] | None = None) -> int:
    """Publish a checkpoint. Return 0, or 1 after an error message."""
    options = _parser().parse_args(argv)
    try:
        if not 0 <= options.samples <= MAX_SAMPLES:
            raise PublishError(f"--samples must be 0 to {MAX_SAMPLES}, got {options.samples}.")
        result = publish(
            options.checkpoint,
            options.repo,
            private=options.private or None,
            revision=options.revision,
            license=options.license,
            base_model=options.base_model,
            samples=options.samples,
            overwrite=options.overwrite,
            dry_run=options.dry_run,
        )
    except (MusicLSTMError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    print("\n".join(f"  {name}" for name in result.files))
    done = "Would be sent to" if options.dry_run else "Published as one commit:"
    print(f"{done} {result.url} ({len(result.files)} files, {result.bytes:,} bytes)")
    return 0


def publish(
    checkpoint: str | Path,
    repo: str,
    *,
    private: bool | None = None,
    revision: str | None = None,
    license: str = "apache-2.0",
    base_model: str | None = None,
    samples: int = SAMPLES,
    overwrite: bool = False,
    dry_run: bool = False,
    log: Callable[[str], None] = print,
) -> UploadResult:
    """Publish weights, tokenizer, model code, facts, samples and model card of a checkpoint.

    Args:
        checkpoint: A folder that training wrote, or "default" for the bundled one.
        repo: Such as "user/model".
        private: Visibility of a new repository. None: the Hub's default.
        revision: Branch. None: main.
        license: Of the weights, as an identifier of the Hub.
        base_model: Hub id of the model that was fine-tuned. None: as in facts.json.
        samples: Number of pieces to compose for the card, 0 to `MAX_SAMPLES`.
        overwrite: Also replace files that an earlier upload did not write.
        dry_run: Send nothing, and return what would be sent.
        log: Receives a line for everything that is left out.

    Raises:
        CheckpointError: The checkpoint cannot be loaded.
        PublishError: The Hub refuses or cannot be reached, or a file would be overwritten.
    """
    check_ready(repo, dry_run=dry_run)
    with TemporaryDirectory(prefix="musiclstm-publish-") as folder:
        write_bundle(
            find_checkpoint(checkpoint),
            Path(folder),
            name=repo,
            base_url=f"{constants.ENDPOINT}/{repo}/resolve/{revision or 'main'}",
            license=license,
            base_model=base_model,
            samples=samples,
            log=log,
        )
        return upload_folder(
            folder,
            repo,
            private=private,
            revision=revision,
            message="Publish a model made with musiclstm",
            overwrite=overwrite,
            dry_run=dry_run,
        )


def check_ready(repo: str, *, dry_run: bool = False) -> None:
    """Check the name and the login without a request, for a caller that trains for hours first.

    Raises:
        PublishError: The name is not valid, or no user is logged in.
    """
    if not _REPO.fullmatch(repo):
        raise PublishError(
            f"{repo!r} is not a valid name of a model on the Hub; use 'user/name', with letters, "
            "digits, '-', '_' and '.'."
        )
    if not dry_run:
        require_token()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m hub.publish",
        description="Publish a checkpoint on the Hugging Face Hub, with card, code and samples.",
    )
    add = parser.add_argument
    add("checkpoint", help="a folder that training.finetune wrote, or default")
    add("repo", help="such as user/model; created if it does not exist")
    add("--private", action="store_true", help="make the repository private")
    add("--revision", metavar="BRANCH", help="branch (main)")
    add("--license", default="apache-2.0", help="of the weights (apache-2.0)")
    add("--base_model", metavar="ID", help="the fine-tuned model, if facts.json does not name it")
    add("--samples", type=int, default=SAMPLES, help=f"pieces to compose for the card ({SAMPLES})")
    add("--overwrite", action="store_true", help="also replace files that were changed by others")
    add("--dry_run", action="store_true", help="send nothing; print what would be sent")
    return parser


if __name__ == "__main__":
    sys.exit(run_command(main))
