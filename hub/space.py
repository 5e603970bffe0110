"""Publishing of the page: `python -m hub.space REPO --model USER/MODEL` creates or updates a Space.

The model is pinned to a commit, a folder is staged and started on this machine, and then uploaded.
With `--static` it is the page without a server.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from hub.revisions import PinnedModel, pin_model
from hub.space_files import PYTHON_VERSION, stage, stage_static
from hub.space_smoke_test import clean_interpreter, smoke_test
from hub.static_check import check_page
from hub.upload import UploadResult, require_token, upload_folder
from musiclstm.cli import run_command
from musiclstm.errors import MusicLSTMError, PublishError


def main(argv: Sequence[str] | None = None) -> int:
    """Create or update a Space. Return 0, or 1 after an error message."""
    options = _parser().parse_args(argv)
    try:
        publish_space(options)
    except BrokenPipeError:
        raise
    except (MusicLSTMError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def publish_space(options: argparse.Namespace) -> None:
    """Pin, stage, test and upload, and print what each step did.

    Raises:
        PublishError: The model or the Space is refused, or the staged page does not start.
    """
    if not options.dry_run:
        require_token()  # before minutes of work
    title = _checked_title(options.title or options.repo.rpartition("/")[2])
    with TemporaryDirectory(prefix="musiclstm-space-") as name:
        folder, model = Path(name), pin_model(options.model, options.revision)
        if options.static:
            stage_static(folder, model, title=title)
        else:
            stage(folder, model, title=title)
        _print_staged(folder, model)
        if options.static:
            _test_static(folder, skip=options.no_boot)
        if options.dry_run:
            print(f"Would go to {_upload(folder, model, options).url}. Nothing was sent.")
            return
        if not options.static:
            _test(folder, skip=options.no_boot)
        result = _upload(folder, model, options)
        print(f"Sent {len(result.files)} files as commit {result.commit}. Building: {result.url}")


def _upload(folder: Path, model: PinnedModel, options: argparse.Namespace) -> UploadResult:
    return upload_folder(
        folder,
        options.repo,
        repo_type="space",
        space_sdk="static" if options.static else "gradio",
        private=options.private or None,
        overwrite=options.overwrite,
        message=f"Play {model.name} at {model.revision[:7]}",
        dry_run=options.dry_run,
    )


def _checked_title(title: str) -> str:
    if not title.isprintable() or not 1 <= len(title.strip()) <= 60:
        raise PublishError(
            f"--title must be one line of 1 to 60 characters, got {title!r}; pass another one."
        )
    return title.strip()


def _print_staged(folder: Path, model: PinnedModel) -> None:
    """Print every file with its size, and the settings for the Hub."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    sizes = {path.relative_to(folder).as_posix(): path.stat().st_size for path in paths}
    for path, size in sizes.items():
        print(f"{size:>9,}  {path}")
    print(f"{sum(sizes.values()):>9,}  bytes in {len(sizes)} files\n")
    card = (folder / "README.md").read_text(encoding="utf-8")
    print(card.removeprefix("---\n").partition("\n---\n")[0])
    print(f"\nPlays {model.name} at commit {model.revision}.")


def _test(folder: Path, *, skip: bool) -> None:
    if skip:
        print("Not started on this machine, because of --no_boot.")
        return
    present = "{}.{}".format(*sys.version_info)
    differs = f"; the Space has Python {PYTHON_VERSION}" if present != PYTHON_VERSION else ""
    print(f"Starting it with its requirements.txt only, on Python {present}{differs} …")
    print("(The environment is installed at the first time, which takes minutes.)", flush=True)
    midi = smoke_test(folder, python=clean_interpreter(folder))
    print(f"It started and composed a bar ({len(midi):,} bytes of MIDI).")


def _test_static(folder: Path, *, skip: bool) -> None:
    if skip:
        print("Not opened in Chromium, because of --no_boot.")
        return
    print("Opening it in Chromium …", flush=True)
    print(f"It composed a bar; its loudest sample is {check_page(folder):.2f}.")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m hub.space", description="Create or update a Space that serves the page."
    )
    parser.add_argument("repo", metavar="REPO", help="the Space, such as user/name")
    parser.add_argument("--model", required=True, help="the model on the Hub, such as user/model")
    parser.add_argument("--revision", help="branch, tag or commit of the model (newest of main)")
    parser.add_argument(
        "--static", action="store_true", help="the page without a server, with free hosting"
    )
    parser.add_argument("--title", help="title of the Space (the name in REPO)")
    parser.add_argument("--private", action="store_true", help="make the Space private")
    parser.add_argument("--overwrite", action="store_true", help="replace files changed by others")
    parser.add_argument("--dry_run", action="store_true", help="print everything and send nothing")
    parser.add_argument("--no_boot", action="store_true", help="send it without starting it here")
    return parser


if __name__ == "__main__":
    sys.exit(run_command(main))
