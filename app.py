"""The page: a seed in, its continuation drawn and heard. `python app.py` serves it.

Page and wiring only: it chooses no notes, parses no MIDI and remembers nothing between visitors.
What one of them chose and what became of it rest in two `gr.State`, written by different events so
that a long composition and a new choice of seed cannot overwrite each other. Files are written into
a folder that lasts until Gradio has copied them into its own.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import gradio as gr
import torch

from musiclstm import (
    Composer,
    Composition,
    MusicLSTMError,
    RenderError,
    Sampling,
    SeedReport,
    bundled_seeds,
    read_midi,
    render,
)
from musiclstm.analysis import AnyScore, bar_starts, seconds_at
from musiclstm.pianoroll import draw_roll
from musiclstm.sampling import MAX_SEED

MOST_BARS = 64
MOST_SEED_BARS_HEARD = 16  # who drops a symphony wants to hear how it goes on
DRAW_EVERY_S = 0.3
LARGEST_UPLOAD = "2mb"

# ------------------------------------------------------------------------------- what a visitor has


@dataclass(frozen=True)
class Seed:
    """The music that is to go on.

    Args:
        title: As the visitor knows it; it may come from a stranger's file.
        score: The music itself.
    """

    title: str
    score: AnyScore


@dataclass(frozen=True)
class Take:
    """A continuation.

    Args:
        piece: The seed and what was composed.
        title: Of the seed.
        trouble: Why it cannot be heard; empty where it can.
    """

    piece: Composition
    title: str
    trouble: str = ""


class Shown(NamedTuple):
    """What changes on the page, in the order of the components that `build_demo` hands over."""

    take: Any = gr.skip()
    status: Any = gr.skip()
    roll: Any = gr.skip()
    sound: Any = gr.skip()
    jump: Any = gr.skip()
    whole_midi: Any = gr.skip()
    new_midi: Any = gr.skip()
    wav: Any = gr.skip()
    mp3: Any = gr.skip()
    go: Any = gr.skip()
    stop: Any = gr.skip()


@contextmanager
def _told_to_the_visitor() -> Iterator[None]:
    """An error of ours becomes one sentence in a corner; all else on the page stays as it is."""
    try:
        yield
    except MusicLSTMError as error:
        raise gr.Error(escape(str(error), quote=False), print_exception=False) from error


# ------------------------------------------------------------------------------------- what happens


def read_seed(source: str | Path, title: str = "") -> tuple[Seed, str, str]:
    """Read a MIDI file and describe it.

    Args:
        source: Where the file lies.
        title: What to call it; empty: its own name.

    Returns:
        The seed, its report and its picture, both as HTML.

    Raises:
        gr.Error: It cannot be read; the sentence says why.
    """
    with _told_to_the_visitor():
        score, report = read_midi(source)
    seed = Seed(title or report.name, score)
    return seed, _report(seed.title, report), draw_roll(score, height_px=170, title=seed.title)


def compose(
    composer: Composer, seed: Seed, bars: int, temperature: float, random_seed: int | None
) -> Iterator[Shown]:
    """Let a seed go on, bar by bar, then make the files.

    Args:
        composer: Who composes.
        seed: What goes on.
        bars: New bars.
        temperature: 0 or more.
        random_seed: None or -1: a fresh one.

    Raises:
        gr.Error: It cannot go on; the sentence says why.
    """
    yield _busy("Reading the seed", 0, bars)._replace(stop=_usable())
    chosen = None if random_seed in (None, -1) else random_seed
    sampling = Sampling(temperature=temperature, seed=chosen)
    drawn, take = -DRAW_EVERY_S, None
    with _told_to_the_visitor():
        for piece in composer.stream(bars=bars, prompt=seed.score, sampling=sampling):
            shown = _busy("Composing", piece.bars, bars)
            if take is None:  # not earlier: until the first bar is there, the last take stays
                shown = shown._replace(**_nothing_to_take_home())
            take = Take(piece, seed.title)
            if time.monotonic() - drawn >= DRAW_EVERY_S:
                shown, drawn = shown._replace(roll=_roll(take)), time.monotonic()
            yield shown._replace(take=take)
    yield from finish(take)


def finish(take: Take | None) -> Iterator[Shown]:
    """Draw a take and make its files, the sound last; without a take there is nothing to do."""
    if take is not None:
        with TemporaryDirectory(prefix="musiclstm-") as folder:
            try:
                yield from _files_of(take, Path(folder) / f"musiclstm-{take.piece.sampling.seed}")
            except RenderError as error:
                take = replace(take, trouble=str(error))
    yield rest(take)._replace(take=take)


def _files_of(take: Take, path: Path) -> Iterator[Shown]:
    """Offer the files of a take, the slow ones last; `path` is their common beginning."""
    whole, new = path.with_name(f"{path.name}.mid"), path.with_name(f"{path.name}-new.mid")
    yield _busy("Making the sound")._replace(
        roll=_roll(take),
        whole_midi=_file(take.piece.save_midi(whole)),
        new_midi=_file(take.piece.save_midi(new, only_new=True)),
        stop=_usable(False),
    )
    audio = render(heard(take.piece)[0])
    wav = audio.save(whole.with_suffix(".wav"))
    yield _busy("Making the mp3")._replace(sound=_sound(wav), jump=_usable(), wav=_file(wav))
    yield Shown(mp3=_file(audio.save(whole.with_suffix(".mp3"))))


def rest(take: Take | None) -> Shown:
    """What the page says, and that Continue can be pressed, when nothing runs."""
    status = _WAITING if take is None else _summary(take)
    return Shown(status=status, go=_usable(), stop=_usable(False))


def jump_to_new(take: Take) -> Any:
    """Put the player where the new bars begin."""
    return gr.update(playback_position=seconds_at(*heard(take.piece)))


def heard(piece: Composition) -> tuple[AnyScore, int]:
    """The end of the seed and all new bars, and the tick where these begin."""
    if piece.seed is None or piece.seed_bars <= MOST_SEED_BARS_HEARD:
        return piece.score, piece.seed_end_tick
    lines = bar_starts(piece.seed.score, end_tick=piece.seed_end_tick)
    start = int(lines[-1 - MOST_SEED_BARS_HEARD])
    later = replace(piece, seed=replace(piece.seed, end_tick=start))
    return later.continuation, piece.seed_end_tick - start


# ------------------------------------------------------------------------------- what it looks like


def _report(title: str, report: SeedReport) -> str:
    key = f" in {report.key}" if report.key else ""
    facts = f"{_bars(report.bars)} of {report.meter} at {report.tempo_bpm:.0f} bpm{key}"
    lines = [str(track) for track in report.tracks] + [f"We {each}." for each in report.repairs]
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f"<h2>{escape(title)}</h2><p>{escape(facts)}</p><ul>{items}</ul>"


def _summary(take: Take) -> str:
    piece = take.piece
    first = f"{_bars(piece.bars)} after {_bars(piece.seed_bars)} of {take.title}"
    if piece.seed_bars > MOST_SEED_BARS_HEARD:
        first += f", of which you hear the last {MOST_SEED_BARS_HEARD}"
    how = f"Random seed {piece.sampling.seed}, temperature {piece.sampling.temperature:g}."
    trouble = f'<p class="trouble">{escape(take.trouble)}</p>' if take.trouble else ""
    return f'<p role="status">{escape(first)}. <span>{how}</span></p>{trouble}'


def _busy(doing: str, done: int = 0, of: int = 0) -> Shown:
    """What is being done and how far it is; Continue has to wait."""
    said = f"{doing}: bar {done} of {of}" if done else f"{doing} …"
    known = f' value="{done}" max="{of}"' if of else ""
    bar = f'<progress{known} aria-label="{doing}"></progress>'
    return Shown(status=f'<p role="status">{said}</p>{bar}', go=_usable(False))


def _bars(number: int) -> str:
    return f"{number:,} bar" if number == 1 else f"{number:,} bars"


def _roll(take: Take) -> str:
    score, begin = heard(take.piece)
    return draw_roll(score, seed_end_tick=begin, height_px=300, title=f"{take.title}, continued")


# Nothing is shown or hidden later on: Gradio builds a component anew when that changes, and updates
# that arrive in the meantime are lost.


def _usable(yes: bool = True) -> Any:
    return gr.update(interactive=yes)


def _file(path: Path | None = None) -> Any:
    return gr.update(value=path and str(path), interactive=path is not None)


def _sound(path: Path | None = None) -> Any:
    return gr.update(value=path and str(path))


def _nothing_to_take_home() -> dict[str, Any]:
    """While something new is on its way, nothing of the last take can be mistaken for it."""
    files = {name: _file() for name in ("whole_midi", "new_midi", "wav", "mp3")}
    return {"sound": _sound(), "jump": _usable(False), **files}


# --------------------------------------------------------------------------------------- the page

_MARK = "".join(
    f'<rect x="{x}" y="{y}" width="{width}" height="5" rx="2.5" class="{part}"/>'
    for x, y, width, part in (
        (0, 26, 13, "seed"), (15, 19, 9, "seed"), (26, 12, 13, "seed"),
        (41, 19, 9, "new"), (52, 5, 15, "new"), (69, 12, 11, "new"),
    )
)  # fmt: skip
_HEADER = f"""<header><svg viewBox="0 0 80 36" aria-hidden="true">{_MARK}</svg>
<div><h1>musiclstm</h1><p>Pick a tune or drop a MIDI file, press Continue, and hear it go on.</p>
</div></header>"""
_WAITING = '<p role="status">What comes next appears here: first as a picture, then as sound.</p>'

_FONTS = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]
_THEME = gr.themes.Base(
    primary_hue="orange", secondary_hue="blue", neutral_hue="slate", radius_size="lg",
    font=_FONTS, font_mono=["ui-monospace", "Menlo", "Consolas", "monospace"],
).set(
    body_background_fill="*neutral_50",
    body_text_color_subdued="*neutral_500",
    block_info_text_color="*neutral_500",
    button_primary_background_fill="#cf5a08",  # the new music's own colour
    button_primary_background_fill_dark="#cf5a08",
    button_primary_background_fill_hover="#b54d05",
    button_primary_background_fill_hover_dark="#b54d05",
    checkbox_label_background_fill_selected="#0b72b5",
    checkbox_label_background_fill_selected_dark="#0b72b5",
    checkbox_label_text_color_selected="white",
    slider_color="*primary_600",
)  # fmt: skip
_CSS = """
:root {--seed: #0b72b5; --new: #cf5a08}
.dark {--seed: #56b4e9; --new: #f5954a; color-scheme: dark}
.gradio-container {max-width: 1080px !important; margin: 0 auto}
#top .seed {fill: var(--seed)}
#top .new {fill: var(--new)}
#top header {display: flex; align-items: center; gap: 1.1rem; padding: .8rem 0 .2rem}
#top svg {width: 5.4rem; flex: none}
#top h1 {margin: 0; font-size: 1.9rem; line-height: 1.1; letter-spacing: -.02em}
#top p {margin: .25rem 0 0; color: var(--body-text-color-subdued); font-size: 1.02rem}
#seed, #result {
  background: var(--block-background-fill); border: 1px solid var(--border-color-primary);
  border-radius: var(--block-radius); padding: .5rem .5rem .8rem; gap: .4rem}
#seed h2 {margin: 0; font-size: 1.15rem}
#seed p, #result p {margin: .15rem 0}
#seed ul {margin: .15rem 0 0; padding: 0; list-style: none; max-height: 5.2rem; overflow-y: auto}
#seed li {margin: 0; font-size: .88rem}
#seed li, #result p span {color: var(--body-text-color-subdued)}
#result .trouble {color: var(--error-text-color)}
#result .generating {border: 0 !important}  /* the line below the status says it better */
#result progress {display: block; width: 100%; height: .4rem; appearance: none; border: 0;
  border-radius: 1rem; overflow: hidden; background: var(--border-color-primary)}
#result progress::-webkit-progress-bar {background: var(--border-color-primary)}
#result progress::-webkit-progress-value {background: var(--new); transition: width .2s}
#result progress::-moz-progress-bar {background: var(--new)}
#press button {font-size: 1.2rem; min-height: 3.2rem}
.musiclstm-roll {overflow: visible}
@media (max-width: 640px) {#top svg {width: 3.6rem}}
"""


def build_demo(composer: Composer) -> gr.Blocks:
    """Lay out the page and tie it to a composer, which all visitors share."""
    with gr.Blocks(title="musiclstm", analytics_enabled=False, delete_cache=(600, 3600)) as demo:
        gr.HTML(_HEADER, elem_id="top")
        seed, take = _seed_panel(), gr.State()
        with gr.Row(elem_id="steer"):
            steering = _steering()
        with gr.Row(elem_id="press"):
            go = gr.Button("Continue", variant="primary", size="lg", scale=4, min_width=160)
            stop = gr.Button("Stop", size="lg", scale=1, min_width=90, interactive=False)
        with gr.Column(elem_id="result"):
            status, *result = _result_panel(take)

        shown = [take, status, *result, go, stop]
        # On the status line Gradio says how many are waiting before this visitor.
        common: dict[str, Any] = {
            "show_progress": "full",
            "show_progress_on": status,
            "concurrency_id": "work",
        }
        compose_here = partial(compose, composer)
        composing = go.click(compose_here, [seed, *steering], shown, api_name="compose", **common)
        stop.click(None, cancels=composing).then(finish, take, shown, api_name="finish", **common)
        composing.failure(rest, take, shown, api_visibility="private")
    return demo.queue(api_open=False, max_size=20, default_concurrency_limit=2)


def _seed_panel() -> gr.State:
    """Where the seed is chosen and shown; gives what holds the visitor's `Seed`."""
    tunes = bundled_seeds()
    title = next(iter(tunes))
    seed, about, picture = read_seed(tunes[title], title)
    with gr.Row(equal_height=True):
        with gr.Column(scale=3, min_width=300):
            names = [(each.partition(" (")[0], each) for each in tunes]
            tune = gr.Radio(
                names, value=title, label="A seed to go on from", info="short tunes, free to use"
            )
        with gr.Column(scale=1, min_width=240):
            kinds = [".mid", ".midi"]
            upload = gr.File(file_types=kinds, label="or your own MIDI file", height=160)
    with gr.Column(elem_id="seed"):
        chosen = gr.State(seed)
        shown = [chosen, gr.HTML(about), gr.HTML(picture)]
    how: dict[str, Any] = {"show_progress": "hidden", "concurrency_id": "seed"}
    tune.input(
        lambda title: (*read_seed(tunes[title], title), None),
        tune,
        [*shown, upload],
        api_name="choose",
        **how,
    )
    dropping = upload.upload(
        lambda path: (*read_seed(path), None), upload, [*shown, tune], api_name="drop", **how
    )
    dropping.failure(lambda: None, None, upload, api_visibility="private")
    return chosen


def _steering() -> list[gr.components.Component]:
    """How many bars, how daring, which random numbers."""
    return [
        gr.Slider(1, MOST_BARS, 8, step=1, label="New bars", info="after the seed"),
        gr.Slider(0, 1.5, 0.9, step=0.05, label="Temperature", info="careful … bold"),
        gr.Number(
            -1,
            precision=0,
            minimum=-1,
            maximum=MAX_SEED,
            label="Random seed",
            info="-1: a new one each time",
        ),
    ]


def _result_panel(take: gr.State) -> list[gr.components.Component]:
    """Status, roll, sound and files, in the order of `Shown`."""
    status, roll = gr.HTML(_WAITING), gr.HTML()
    with gr.Row(equal_height=True):
        sound = gr.Audio(
            label="Seed and continuation",
            type="filepath",
            interactive=False,
            autoplay=False,
            buttons=[],
            waveform_options=gr.WaveformOptions(show_recording_waveform=False),
            scale=5,
            min_width=280,
        )
        jump = gr.Button("Skip to new bars", interactive=False, size="md", min_width=180)
        jump.click(jump_to_new, take, sound, show_progress="hidden", api_visibility="private")
    with gr.Row():
        files = [
            gr.DownloadButton(label, interactive=False, size="md", min_width=120)
            for label in ("MIDI", "MIDI, new bars", "Sound, wav", "Sound, mp3")
        ]
    return [status, roll, sound, jump, *files]


def serve(demo: gr.Blocks, *, host: str, port: int | None) -> str:
    """Serve the page with the settings it was made for, and return at once.

    Args:
        demo: From `build_demo`.
        host: The address to listen at.
        port: None: the first free one from 7860.

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
        enable_monitoring=False,
        run_history=False,
        ssr_mode=False,
        pwa=False,
        footer_links=[],
        theme=_THEME,
        css=_CSS,
        app_kwargs={"docs_url": None, "redoc_url": None, "openapi_url": None},
    )
    return url


def main(argv: Sequence[str] | None = None) -> int:
    """Serve the page until interrupted; 1 where it cannot be served."""
    parser = argparse.ArgumentParser(description="The page: hear your own MIDI go on.")
    parser.add_argument("--model", default="default", help="a checkpoint folder or a Hub id")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen at")
    parser.add_argument("--port", default=7860, type=int, help="the port to listen at")
    options = parser.parse_args(argv)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    torch.set_num_threads(1)  # a step is too small to share out; two visitors have one core each
    try:
        composer = Composer.from_pretrained(options.model)
    except MusicLSTMError as error:
        return _refusal(str(error))
    next(composer.stream(bars=1))  # the first step is the slow one
    demo = build_demo(composer)
    try:
        print(serve(demo, host=options.host, port=options.port), flush=True)
    except OSError:
        where = f"{options.host}:{options.port}"
        return _refusal(f"Nothing can be served at {where}; choose another --port or --host.")
    demo.block_thread()
    return 0


def _refusal(sentence: str) -> int:
    print(f"error: {sentence}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
