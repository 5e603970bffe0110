"""Build the page without a server: bundle the JavaScript, pack the model, cut the sounds.

    python -m hub.static_page build/static --serve

Needs what `npm ci` installs, the core as WebAssembly (scripts/build_wasm.sh) and the SoundFont
FluidR3Mono (Debian: apt-get install fluidr3mono-gm-soundfont).
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import musiclstm
from hub.static_model import pack_model
from musiclstm.cli import run_command
from musiclstm.core import Weights
from musiclstm.errors import MusicLSTMError, PublishError
from musiclstm.examples import example_files
from musiclstm.generation import LINK_DICTIONARY, Composer
from musiclstm.model import load_weights
from musiclstm.tokens import TABLE
from scripts.cut_soundfont import cut_all

ROOT = Path(__file__).parents[1]
SOUNDFONT_VARIABLE = "MUSICLSTM_STATIC_SOUNDFONT"

_SOURCES = ROOT / "page" / "static"
_PLAYER_CSS = ROOT / "page" / "playback" / "static" / "player.css"
_ENTRIES = ("main.js", "engine/worker.js", "sound/worker.js")
_COPIED = ("index.html", "page.css", "icon.svg")
_SOUNDFONTS = (
    "/usr/share/fluidr3mono-gm-soundfont/FluidR3Mono_GM.sf3",
    "/usr/share/sounds/sf3/FluidR3Mono_GM.sf3",
)
_SOUND_LICENSE = "/usr/share/doc/fluidr3mono-gm-soundfont/copyright"
_BUNDLED = ("spessasynth_core", "stb-vorbis")  # npm packages in the bundles
_ESBUILD = ROOT / "node_modules" / ".bin" / "esbuild"
_TYPES = {".sf3": "application/octet-stream", ".js": "text/javascript", ".wasm": "application/wasm"}


def build(folder: Path, model: str = "default", revision: str | None = None) -> None:
    """Write all files of the page into a folder.

    Args:
        folder: Created if it does not exist; files of an earlier build are replaced.
        model: "default", a checkpoint folder, or a Hub id.
        revision: Commit on the Hub.

    Raises:
        PublishError: A tool or a file of the machine is missing.
        CheckpointError: The model cannot be loaded.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _bundle(folder)
    for name in _COPIED:
        shutil.copyfile(_SOURCES / name, folder / name)
    css = _PLAYER_CSS.read_text(encoding="utf-8")
    (folder / "player.css").write_text(f".player-scope {{\n{css}}}\n", encoding="utf-8")
    _write_core(folder / "core.wasm")
    packed = _packed_model(model, revision)
    (folder / "weights.bin").write_bytes(gzip.compress(packed, 9, mtime=0))
    _write_examples(folder / "examples")
    _write_sounds(folder / "sounds")
    _write_service_worker(folder)


def _bundle(folder: Path) -> None:
    if not _ESBUILD.exists():
        raise PublishError("The JavaScript bundler is missing; run: npm ci")
    # engine/worker.js becomes engine_worker.js
    named = {entry.removesuffix(".js").replace("/", "_"): _SOURCES / entry for entry in _ENTRIES}
    entries = [f"{name}={path}" for name, path in named.items()]
    options = ("--bundle", "--minify", "--format=esm", "--target=es2022", "--legal-comments=none")
    command = [str(_ESBUILD), *entries, *options, f"--outdir={folder}", "--log-level=warning"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise PublishError(f"The JavaScript cannot be bundled: {done.stderr.strip()[-2000:]}")
    licenses = [
        f"{name}\n\n{(ROOT / 'node_modules' / name / 'LICENSE').read_text(encoding='utf-8')}"
        for name in _BUNDLED
    ]
    (folder / "licenses.txt").write_text("\n\n".join(licenses), encoding="utf-8")


def _write_core(path: Path) -> None:
    built = ROOT / "musiclstm" / "core" / "core.wasm"
    if built.is_file():
        shutil.copyfile(built, path)
        return
    script = ROOT / "scripts" / "build_wasm.sh"
    done = subprocess.run(
        ["sh", str(script), str(path.resolve())], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise PublishError(
            "The core cannot be built as WebAssembly, which needs clang and lld: "
            f"{done.stderr.strip()[-1000:]}"
        )


def _packed_model(model: str, revision: str | None) -> bytes:
    stored = load_weights(model, revision=revision)
    config = stored.config
    if config.programs is not None:
        raise PublishError(
            f"{model!r} was trained on some programs only, which the page without a server does "
            "not support; publish the page with a server."
        )
    weights = Weights.from_state_dict(
        stored.arrays, residual=config.residual, token_names=config.token_names
    )
    composer = Composer.from_pretrained(model, revision=revision)
    info = {
        "name": model,
        "revision": revision or "",
        "fingerprint": composer.fingerprint,
        "musiclstm": musiclstm.__version__,
        "linkDictionary": LINK_DICTIONARY.decode("ascii"),
    }
    return pack_model(weights, TABLE, composer.bar_score, info)


def _write_examples(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    examples = example_files()
    for path in examples.values():
        shutil.copyfile(path, folder / path.name)
    listed = [
        {
            "title": title,
            "file": path.stem,
            "source": f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}",
        }
        for title, path in examples.items()
    ]
    (folder / "examples.json").write_text(json.dumps(listed, ensure_ascii=False), encoding="utf-8")


def _write_sounds(folder: Path) -> None:
    named = os.environ.get(SOUNDFONT_VARIABLE)
    candidates = [Path(each) for each in ([named] if named else _SOUNDFONTS)]
    found = next((path for path in candidates if path.is_file()), None)
    if found is None:
        raise PublishError(
            "The SoundFont FluidR3Mono is missing. Install it (Debian: apt-get install "
            f"fluidr3mono-gm-soundfont), or set {SOUNDFONT_VARIABLE} to its path."
        )
    cut_all(found, folder)
    license = Path(_SOUND_LICENSE)
    text = license.read_text(encoding="utf-8") if license.is_file() else "FluidR3Mono GM: MIT.\n"
    (folder / "LICENSE.txt").write_text(text, encoding="utf-8")


def _write_service_worker(folder: Path) -> None:
    """Fill in the list of files and a digest of them, which changes with every build."""
    files = sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and path.parent.name != "sounds"
    )
    files = [name for name in files if name not in ("service_worker.js", "README.md", "LICENSE")]
    digest = hashlib.sha256(b"".join((folder / name).read_bytes() for name in files))
    source = (_SOURCES / "service_worker.js").read_text(encoding="utf-8")
    text = source.replace('"__FILES__"', json.dumps(["./", *files]))
    text = text.replace("__BUILD__", f"musiclstm-{digest.hexdigest()[:16]}")
    (folder / "service_worker.js").write_text(text, encoding="utf-8")


class _Handler(SimpleHTTPRequestHandler):
    extensions_map = SimpleHTTPRequestHandler.extensions_map | _TYPES

    def log_message(self, *_: object) -> None:
        """Print nothing."""


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """Print nothing when a browser closes a connection."""


@contextmanager
def serving(folder: Path, port: int = 0) -> Iterator[str]:
    """Serve a folder on this machine while the block runs; yield its address."""
    handler = partial(_Handler, directory=str(folder))
    with _Server(("127.0.0.1", port), handler) as server:
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/"
        finally:
            server.shutdown()
            thread.join()


def main(argv: Sequence[str] | None = None) -> int:
    """Build the page, and serve it if asked to. Return 0, or 1 after an error message."""
    parser = argparse.ArgumentParser(
        prog="python -m hub.static_page", description="Build the page without a server."
    )
    parser.add_argument("folder", type=Path, help="where to write it")
    parser.add_argument("--model", default="default", help="a checkpoint folder or a Hub id")
    parser.add_argument("--revision", help="commit of the model on the Hub")
    parser.add_argument("--serve", action="store_true", help="serve it on this machine")
    parser.add_argument("--port", type=int, default=7861, help="of --serve (7861)")
    options = parser.parse_args(argv)
    try:
        build(options.folder, options.model, options.revision)
        size = sum(path.stat().st_size for path in options.folder.rglob("*") if path.is_file())
        print(f"Built {options.folder}, {size:,} bytes.")
        if options.serve:
            with serving(options.folder, options.port) as url:
                input(f"Open {url} in a browser. Press Enter to stop.\n")
    except BrokenPipeError:
        raise
    except (MusicLSTMError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
