"""The page: a seed in, its continuation drawn and heard. `python app.py` serves it.

Only the way to it: which model, which address, which limits. What stands on the page and what
happens there is written in page/.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import gradio as gr
import torch

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

LARGEST_UPLOAD = "2mb"
MOST_WAITING = 60  # of all kinds; the guard lets fewer wait that compose
MOST_VISITORS_KEPT = 100  # the desk of the one who came back least recently goes first


def build_demo(composer: Composer, *, model_box: bool = False) -> gr.Blocks:
    """Lay out the page and tie it to a composer, which all visitors share.

    Args:
        composer: Who composes.
        model_box: Whether visitors may load other models, by Hub id or folder.
    """
    shelf = ChunkCache()
    with gr.Blocks(title="musiclstm", analytics_enabled=False, delete_cache=(600, 3600)) as demo:
        page = build_layout(shelf, html.model_summary(composer), model_box=model_box)
        EventListeners(page, composer, shelf).connect(demo)
        register_api(composer)
    return demo.queue(api_open=False, max_size=MOST_WAITING, default_concurrency_limit=2)


def serve(
    demo: gr.Blocks,
    *,
    host: str,
    port: int | None,
    mcp: bool = False,
    model: str = "",
    limits: ServerLimits | None = None,
) -> str:
    """Serve the page with the settings it was made for, and return at once.

    Args:
        demo: From `build_demo`.
        host: The address to listen at.
        port: None: the first free one from 7860.
        mcp: Whether programs may come in by the Model Context Protocol too; needs the extra `mcp`.
        model: The name of the model, for `/healthz`.
        limits: How much the server takes on. None: as `ServerLimits` has it.

    Returns:
        The page's address.

    Raises:
        OSError: The port is taken.
    """
    _, url, _ = demo.launch(
        server_name=host,
        server_port=port,
        prevent_thread_lock=True,
        quiet=True,
        show_error=False,
        max_file_size=LARGEST_UPLOAD,
        max_threads=16,
        state_session_capacity=MOST_VISITORS_KEPT,
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
    """Do what is slow the first time: a step of the network, and reading the instruments.

    Returns:
        What is to be held on to, so that the instruments stay read; None without FluidSynth.
    """
    next(composer.stream(bars=1))
    SANDBOX.start()
    try:
        return load_instruments()
    except RenderError:
        return None


def main(argv: Sequence[str] | None = None) -> int:
    """Serve the page until interrupted; 1 where it cannot be served."""
    options = _parser().parse_args(argv)
    if options.mcp and find_spec("mcp") is None:
        return _refusal(
            "--mcp needs more packages; in an environment of its own, run: "
            "pip install -r requirements.txt 'gradio[mcp]'"
        )
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    torch.set_num_threads(1)  # a step is too small to share out; two visitors have one core each
    try:
        composer = Composer.from_pretrained(options.model, revision=options.revision)
    except MusicLSTMError as error:
        return _refusal(str(error))
    _held = warm_up(composer)
    if options.behind_proxy:
        trust_proxy()
    with temp_dir():
        demo = build_demo(composer, model_box=options.model_box)
        try:
            where = {"host": options.host, "port": options.port}
            url = serve(demo, **where, mcp=options.mcp, model=composer.name or "")
        except OSError:
            return _refusal(
                f"Nothing can be served at {options.host}:{options.port}; "
                "choose another --port or --host."
            )
        print(url, flush=True)
        serve_until_signal(demo)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="The page: hear your own MIDI go on.")
    parser.add_argument("--model", default="default", help="a checkpoint folder or a Hub id")
    parser.add_argument("--revision", help="branch, tag or commit of a model on the Hub (main)")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen at")
    parser.add_argument("--port", default=7860, type=int, help="the port to listen at")
    parser.add_argument("--model-box", action="store_true", help="let visitors load other models")
    parser.add_argument(
        "--behind-proxy",
        action="store_true",
        default="SPACE_ID" in os.environ,
        help="visitors come through a proxy in this private network, as on a Hugging Face Space",
    )
    parser.add_argument(
        "--mcp", action="store_true", help="let programs in by MCP too; needs gradio[mcp]"
    )
    return parser


def _refusal(sentence: str) -> int:
    print(f"error: {sentence}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
