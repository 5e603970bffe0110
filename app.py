"""`python app.py`: serve the page, which continues a MIDI file and plays the result."""

from __future__ import annotations

import argparse
import os
import re
import socket
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import gradio as gr

from musiclstm import Composer, MusicLSTMError, RenderError
from musiclstm.audio import load_instruments
from page.api import register_api
from page.playback.chunk_cache import ChunkCache
from page.server.lifecycle import app_options, serve_until_signal, trust_proxy
from page.server.queue_limits import ServerLimits
from page.server.temp_cleanup import temp_dir
from page.session.prompt import SANDBOX
from page.ui import html
from page.ui.events import EventListeners
from page.ui.layout import CSS, THEME, build_layout

_TAKEN = "Nothing can be served at {host}:{port}; choose another --port or --host."
MAX_UPLOAD = "2mb"
MAX_QUEUE = 60  # jobs of all kinds; `ServerLimits` allows fewer that compose
MAX_SESSIONS = 100  # beyond it, the least recently used session is dropped


def build_demo(composer: Composer, *, model_box: bool = False) -> gr.Blocks:
    """Build the page.

    Args:
        composer: The default composer, shared by all users.
        model_box: Whether users may load other models, by Hub id or folder.
    """
    chunk_cache = ChunkCache()
    with gr.Blocks(title="musiclstm", analytics_enabled=False, delete_cache=(600, 3600)) as demo:
        page = build_layout(chunk_cache, html.model_summary(composer), model_box=model_box)
        EventListeners(page, composer, chunk_cache).connect(demo)
        register_api(composer)
    return demo.queue(api_open=False, max_size=MAX_QUEUE, default_concurrency_limit=2)


def serve(
    demo: gr.Blocks,
    *,
    host: str,
    port: int | None,
    mcp: bool = False,
    model: str = "",
    root_path: str = "",
    limits: ServerLimits | None = None,
) -> str:
    """Start the server and return.

    Args:
        demo: From `build_demo`.
        host: Address to listen on.
        port: None: the first free one from 7860.
        mcp: Whether to serve the Model Context Protocol too; needs the extra `mcp`.
        model: Name of the model, for `/healthz`.
        root_path: Path under which a proxy serves the page, such as `/music`, or its URL. Empty:
            GRADIO_ROOT_PATH, else the root.
        limits: Limits of requests and jobs. None: the defaults of `ServerLimits`.

    Returns:
        URL of the page.

    Raises:
        OSError: The port is taken.
    """
    _, url, _ = demo.launch(
        server_name=host,
        server_port=port,
        root_path=root_path or None,
        prevent_thread_lock=True,
        quiet=True,
        show_error=False,
        max_file_size=MAX_UPLOAD,
        max_threads=16,
        state_session_capacity=MAX_SESSIONS,
        enable_monitoring=False,
        run_history=False,
        ssr_mode=False,
        pwa=False,
        mcp_server=mcp,
        footer_links=[],
        theme=THEME,
        css=CSS,
        app_kwargs=app_options(demo, model=model, limits=limits),
    )
    return url


def warm_up(composer: Composer) -> Any:
    """Do what is slow the first time: a model step, the sandbox's start, loading the SoundFont.

    Returns:
        A reference that keeps the SoundFont in memory. None: there is no FluidSynth or SoundFont.
    """
    next(composer.stream(bars=1))
    SANDBOX.start()
    try:
        return load_instruments()
    except RenderError:
        return None


def main(argv: Sequence[str] | None = None) -> int:
    """Serve the page until interrupted; return 1 if that is not possible."""
    options = _parser().parse_args(argv)
    if options.mcp and find_spec("mcp") is None:
        return _fail(
            "--mcp needs more packages; in an environment of its own, run: "
            "pip install -r requirements.txt 'gradio[mcp]'"
        )
    if not _is_free(options.host, options.port):  # told before the model is loaded
        return _fail(_TAKEN.format(**vars(options)))
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    try:
        composer = Composer.from_pretrained(options.model, revision=options.revision)
    except MusicLSTMError as error:
        return _fail(str(error))
    _soundfont = warm_up(composer)
    if options.behind_proxy:
        trust_proxy()
    with temp_dir():
        demo = build_demo(composer, model_box=options.model_box)
        try:
            url = serve(
                demo,
                host=options.host,
                port=options.port,
                mcp=options.mcp,
                model=composer.name or "",
                root_path=options.root_path,
            )
        except OSError:
            return _fail(_TAKEN.format(**vars(options)))
        print(url, flush=True)
        serve_until_signal(demo)
    return 0


def _is_free(host: str, port: int) -> bool:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.create_server((host, port), family=family):
            return True
    except (OSError, OverflowError):
        return False


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Serve the page that continues your MIDI.")
    parser.add_argument("--model", default="default", help="checkpoint folder or Hub id")
    parser.add_argument("--revision", help="branch, tag or commit of a model on the Hub (main)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", default=7860, type=int, help="port to listen on")
    parser.add_argument("--model-box", action="store_true", help="let users load other models")
    parser.add_argument(
        "--behind-proxy",
        action="store_true",
        default="SPACE_ID" in os.environ,
        help="users come through a proxy in this private network, as on a Hugging Face Space",
    )
    parser.add_argument(
        "--root-path",
        type=_root_path,
        default="",
        metavar="/music",
        help="path under which a proxy serves the page, see docs/proxy.md (default: the root)",
    )
    parser.add_argument(
        "--mcp", action="store_true", help="serve MCP clients too; needs gradio[mcp]"
    )
    return parser


def _root_path(text: str) -> str:
    path = text.rstrip("/")
    if path and not re.fullmatch(r"(https?://[^/\s?#]+)?(/[\w.~%-]+)*", path):
        raise argparse.ArgumentTypeError(
            f"expected a path such as /music, or a URL such as https://example.org/music, got "
            f"{text!r}"
        )
    return path


def _fail(sentence: str) -> int:
    print(f"error: {sentence}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
