"""A checkpoint goes to the Hub: `python -m hub.publish CHECKPOINT REPO` makes one commit of it.

Joins the steps: a folder assembled, then delivered. Knows neither what lies in the folder nor how
the Hub is spoken to.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from huggingface_hub import constants

from hub.bundle import MAX_SAMPLES, assemble
from hub.upload import UploadResult, deliver, token_at_hand
from musiclstm.errors import MusicLSTMError, PublishError
from musiclstm.model import find_checkpoint

SAMPLES = 3

_REPO = re.compile(r"(?!.*(--|\.\.))[A-Za-z0-9_][\w.-]*/[A-Za-z0-9_][\w.-]*(?<![.-])", re.ASCII)


def main(argv: Sequence[str] | None = None) -> int:
    """Publish a checkpoint; 0 when it is there, 1 with a sentence when not."""
    options = _parser().parse_args(argv)
    try:
        if not 0 <= options.samples <= MAX_SAMPLES:
            raise PublishError(f"--samples must be 0 to {MAX_SAMPLES}, got {options.samples}.")
        delivery = publish(
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
    print("\n".join(f"  {name}" for name in delivery.files))
    done = "Would be sent to" if options.dry_run else "Published as one commit:"
    print(f"{done} {delivery.url} ({len(delivery.files)} files, {delivery.bytes:,} bytes)")
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
    say: Callable[[str], None] = print,
) -> UploadResult:
    """Send a checkpoint with everything that others need to hear, judge and use it.

    Args:
        checkpoint: A folder that training wrote, or "default" for the bundled one.
        repo: Such as "user/model".
        private: True: nobody else may see it. None: as it is, or as the Hub makes new ones.
        revision: A branch; None: main.
        license: Of the weights, as the Hub spells it.
        base_model: The Hub id of what it began from; None: what its facts say.
        samples: How many pieces to compose for the card, 0 to `MAX_SAMPLES`.
        overwrite: Also replace files that an earlier publishing did not write.
        dry_run: Send nothing, only say what would be sent.
        say: Is told what is missing.

    Raises:
        CheckpointError: The checkpoint cannot be loaded.
        PublishError: The Hub refuses or cannot be reached, or something would be overwritten.
    """
    check_ready(repo, dry_run=dry_run)
    with TemporaryDirectory(prefix="musiclstm-publish-") as room:
        assemble(
            find_checkpoint(checkpoint),
            Path(room),
            name=repo,
            home=f"{constants.ENDPOINT}/{repo}/resolve/{revision or 'main'}",
            license=license,
            base_model=base_model,
            samples=samples,
            say=say,
        )
        return deliver(
            room,
            repo,
            private=private,
            revision=revision,
            message="Publish a model made with musiclstm",
            overwrite=overwrite,
            dry_run=dry_run,
        )


def check_ready(repo: str, *, dry_run: bool = False) -> None:
    """Refuse at once what would be refused after hours of work; asks no Hub.

    Raises:
        PublishError: No such name can be, or nobody is logged in.
    """
    if not _REPO.fullmatch(repo):
        raise PublishError(
            f"{repo!r} is no name for a model on the Hub; take 'user/name', of letters, digits, "
            "'-', '_' and '.'."
        )
    if not dry_run:
        token_at_hand()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m hub.publish",
        description="Send a checkpoint to the Hugging Face Hub, with card, code and samples.",
    )
    add = parser.add_argument
    add("checkpoint", help="a folder that training.finetune wrote, or default")
    add("repo", help="such as user/model; made if it is not there")
    add("--private", action="store_true", help="nobody else may see it")
    add("--revision", metavar="BRANCH", help="another branch than main")
    add("--license", default="apache-2.0", help="of the weights (apache-2.0)")
    add("--base_model", metavar="ID", help="what it began from, if its facts do not say")
    add("--samples", type=int, default=SAMPLES, help=f"pieces to compose for the card ({SAMPLES})")
    add("--overwrite", action="store_true", help="also replace what this command did not write")
    add("--dry_run", action="store_true", help="send nothing; say what would be sent")
    return parser


if __name__ == "__main__":
    sys.exit(main())
