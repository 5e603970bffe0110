"""The page for everybody: `python -m hub.space REPO --model USER/MODEL` makes or updates a Space.

Joins the steps: a model pinned to a commit, a folder staged, that folder started alone on this
machine, and only then sent.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from huggingface_hub import get_token

from hub.revisions import Pin, pin
from hub.space_files import PYTHON_VERSION, stage
from hub.space_smoke_test import boot, clean_python
from hub.upload import UploadResult, deliver
from musiclstm.errors import MusicLSTMError, PublishError


def main(argv: Sequence[str] | None = None) -> int:
    """Make or update a Space; 1 with a sentence where that cannot be done."""
    options = _parser().parse_args(argv)
    try:
        publish_space(options)
    except (MusicLSTMError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def publish_space(options: argparse.Namespace) -> None:
    """Pin, stage, try and send, each step telling what it did.

    Raises:
        PublishError: The model or the Space is refused, or the staged page does not start.
    """
    if not options.dry_run:
        _refuse_strangers()
    title = _title(options.title or options.repo.rpartition("/")[2])
    with TemporaryDirectory(prefix="musiclstm-space-") as name:
        folder, chosen = Path(name), pin(options.model, options.revision)
        stage(folder, chosen, title=title)
        _show(folder, chosen)
        if options.dry_run:
            print(f"Would go to {_deliver(folder, chosen, options).url}. Nothing was sent.")
            return
        _try(folder, with_boot=not options.no_boot)
        sent = _deliver(folder, chosen, options)
        print(f"Sent {len(sent.files)} files as commit {sent.commit}. Building: {sent.url}")


def _deliver(folder: Path, chosen: Pin, options: argparse.Namespace) -> UploadResult:
    return deliver(
        folder,
        options.repo,
        repo_type="space",
        space_sdk="gradio",
        private=options.private or None,
        overwrite=options.overwrite,
        message=f"Play {chosen.model} at {chosen.revision[:7]}",
        dry_run=options.dry_run,
    )


def _refuse_strangers() -> None:
    """Before minutes are spent on a Space that could not be sent."""
    if get_token() is None:
        raise PublishError(
            "Nobody is logged in to the Hub; run `hf auth login`, set HF_TOKEN to a token that may "
            "write, or add --dry_run."
        )


def _title(title: str) -> str:
    if not title.isprintable() or not 1 <= len(title.strip()) <= 60:
        raise PublishError(
            f"A Space's title is one line of 1 to 60 letters, not {title!r}; pass another --title."
        )
    return title.strip()


def _show(folder: Path, chosen: Pin) -> None:
    """Every file with its size, and the settings that the Hub will read."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    sizes = {path.relative_to(folder).as_posix(): path.stat().st_size for path in paths}
    for path, size in sizes.items():
        print(f"{size:>9,}  {path}")
    print(f"{sum(sizes.values()):>9,}  bytes in {len(sizes)} files\n")
    card = (folder / "README.md").read_text(encoding="utf-8")
    print(card.removeprefix("---\n").partition("\n---\n")[0])
    print(f"\nPlays {chosen.model} at commit {chosen.revision}.")


def _try(folder: Path, *, with_boot: bool) -> None:
    if not with_boot:
        print("Not started on this machine, as --no_boot asks: the Hub is the first to try it.")
        return
    present = "{}.{}".format(*sys.version_info)
    differs = f"; the Space has Python {PYTHON_VERSION}" if present != PYTHON_VERSION else ""
    print(f"Starting it alone, with its requirements.txt and Python {present} only{differs} …")
    print("(The first time that environment is built, which takes minutes.)", flush=True)
    midi = boot(folder, python=clean_python(folder))
    print(f"It started and composed a bar ({len(midi):,} bytes of MIDI).")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m hub.space", description="Make or update the page for everybody, a Space."
    )
    parser.add_argument("repo", metavar="REPO", help="the Space, such as user/name")
    parser.add_argument("--model", required=True, help="the model on the Hub, such as user/model")
    parser.add_argument("--revision", help="its branch, tag or commit (the newest of main)")
    parser.add_argument("--title", help="what the Space is called (the name of REPO)")
    parser.add_argument("--private", action="store_true", help="only you can see the Space")
    parser.add_argument("--overwrite", action="store_true", help="replace what others wrote there")
    parser.add_argument("--dry_run", action="store_true", help="show everything and send nothing")
    parser.add_argument("--no_boot", action="store_true", help="send it without starting it here")
    return parser


if __name__ == "__main__":
    sys.exit(main())
