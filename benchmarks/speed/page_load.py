"""`python -m benchmarks.speed.page_load`: many listeners at once on one server, all on this machine.

Starts `app.py` as anybody would. In a burst all press Continue at the same moment, in a wave one
after another; each has an address of its own, as behind a proxy. A listener who was let in and
hears no end is lost, and none may be. `--minutes` goes on for longer with all that visitors do and
watches memory and files; `--bodies` sends what is far too large, and uploads that never end.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import httpx

from benchmarks.common.app_server import Server, served
from benchmarks.common.http_client import Listener, Told
from benchmarks.common.report import Report, ReportError, parser, run, table
from benchmarks.speed import request_bodies
from musiclstm.examples import example_files

WARM_UP = 0.25  # of the minutes
MOST_GROWTH = 0.10


def main(argv: list[str] | None = None) -> int:
    """Run the command; 0, or 1 with a sentence where it cannot be measured."""
    options = parser("benchmarks.speed.page_load", "Many listeners at once.", data=False)
    add = options.add_argument
    add("--listeners", default="1,5,10,20,60", help="how many at once (1,5,10,20,60)")
    add("--wave", type=float, default=10.0, help="seconds over which a wave arrives (10)")
    add("--bars", type=int, default=8, help="that each asks for (8)")
    add("--minutes", type=float, default=0.0, help="of mixed load afterwards (0: none)")
    add("--visitors", type=int, default=5, help="at once in the mixed load (5)")
    add("--kill", action="store_true", help="kill the server's helpers during the mixed load")
    add("--bodies", type=int, default=0, metavar="MB", help="size of large bodies (0: none)")
    add("--stalled", type=int, default=300, help="uploads that never end, with --bodies (300)")
    add("--model", default="default", help="a checkpoint folder or a Hub id")
    return run(measure, options.parse_args(argv))


def measure(options: argparse.Namespace) -> Report:
    """Serve, visit, count."""
    counts = _counts(options.listeners)
    facts: dict[str, Any] = {"rows": []}
    with served(options.model) as server:
        config = _warm_up(server, options.bars)
        for count in counts:
            for kind, over_s in (("burst", 0.0), ("wave", options.wave)):
                row = _round(server, config, count, over_s, options.bars)
                facts["rows"].append({"listeners": count, "kind": kind, **row})
        if options.minutes > 0:
            facts["mixed"] = _mixed(server, config, options)
        if options.bodies > 0:
            size = options.bodies * 1_000_000
            found, waits = (
                request_bodies.large(server, size),
                request_bodies.stalled(server, options.stalled),
            )
            facts["bodies"] = {"size_bytes": size, "large": found, "stalled": vars(waits)}
    return Report(_text(facts), facts)


def _counts(text: str) -> list[int]:
    try:
        counts = [int(part) for part in text.split(",")]
    except ValueError:
        counts = []
    if not counts or min(counts) < 1:
        raise ReportError(f"--listeners must be numbers such as 1,5,10, got {text!r}.")
    return counts


def _warm_up(server: Server, bars: int) -> dict[str, Any]:
    """One piece, so that all is loaded; what the page is made of."""
    with contextlib.closing(_visitor(server, None, 0, bars)) as first:
        told = first.press()
        if told.sentence or not told.ended:
            raise ReportError(f"The page composes nothing: {told.sentence or 'no end was told'}")
        return first.config


def _visitor(server: Server, config: dict[str, Any] | None, number: int, bars: int) -> Listener:
    """Somebody from an address of their own, of those reserved for benchmarks (RFC 2544)."""
    address = f"198.18.{number // 250 % 250}.{number % 250 + 1}"
    visitor = Listener(server.url, address=address, config=config)
    visitor.set("New bars", bars)
    return visitor


# One press each -----------------------------------------------------------------------------------


def _round(
    server: Server, config: dict[str, Any], count: int, over_s: float, bars: int
) -> dict[str, Any]:
    """All press Continue once, at the same moment or spread over some seconds."""
    begun_s = time.perf_counter()

    def visit(number: int) -> Told | None:
        with contextlib.closing(_visitor(server, config, number, bars)) as visitor:
            time.sleep(over_s * number / count)
            return _pressed(visitor.press)

    with ThreadPoolExecutor(count) as pool:
        told = list(pool.map(visit, range(count)))
    return _row(told, time.perf_counter() - begun_s, server.memory_bytes())


def _pressed(press: Callable[[], Told]) -> Told | None:
    """What was told; None: the line broke."""
    try:
        return press()
    except httpx.TransportError:
        return None


def _row(told: list[Told | None], seconds: float, memory_bytes: int) -> dict[str, Any]:
    """What became of many presses."""
    known = [each for each in told if each is not None]
    played = [each for each in known if each.ended and not each.sentence]
    refused = [each for each in known if each.status != 200]
    failed = [each for each in known if each.ended and each.sentence]
    first = [each.first_sound_s for each in played if each.first_sound_s is not None]
    end = [each.end_s for each in played]
    return {
        "played": len(played),
        "refused": len(refused),
        "failed": len(failed),
        "lost": len(told) - len(played) - len(refused) - len(failed),
        "first_p50_s": _percentile(first, 50),
        "first_p95_s": _percentile(first, 95),
        "end_p50_s": _percentile(end, 50),
        "end_p95_s": _percentile(end, 95),
        "refusal_s": max((each.end_s for each in refused), default=0.0),
        "per_minute": 60 * len(played) / seconds,
        "memory_bytes": memory_bytes,
        "sentences": sorted({each.sentence for each in (*refused, *failed)}),
    }


def _percentile(values: list[float], percent: int) -> float:
    """Of few values the nearest one; NaN of none."""
    if not values:
        return float("nan")
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(percent / 100 * (len(ordered) - 1)))]


# All that visitors do -----------------------------------------------------------------------------


def _mixed(server: Server, config: dict[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """Visitors come, drop files, compose, take home and leave; memory and files every second."""
    until_s = time.monotonic() + 60 * options.minutes
    told: list[Told | None] = []
    held: list[tuple[float, int, int, int]] = []
    with ThreadPoolExecutor(options.visitors) as pool:
        rounds = [
            pool.submit(_visits, server, config, number, options.bars, until_s)
            for number in range(options.visitors)
        ]
        killed = _watch(server, until_s, held, kill=options.kill)
        for each in rounds:
            told += each.result()
    row = _row(told, 60 * options.minutes, server.memory_bytes())
    return row | _growth(held) | {"presses": len(told), "killed": killed}


def _visits(
    server: Server, config: dict[str, Any], number: int, bars: int, until_s: float
) -> list[Told | None]:
    """One visitor after another, until the time is over."""
    chance, told = random.Random(number), list[Told | None]()
    tunes = [path.read_bytes() for path in example_files().values()]
    while time.monotonic() < until_s:
        with contextlib.closing(_visitor(server, config, number, bars)) as visitor:
            told += [_pressed(press) for press in _visit(visitor, chance, tunes)]
    return told


def _visit(
    visitor: Listener, chance: random.Random, tunes: list[bytes]
) -> Iterator[Callable[[], Told]]:
    """What one visitor does."""
    if chance.random() < 0.5:
        tune = chance.choice(tunes)
        yield lambda: visitor.drop("motif.mid", tune)
    if chance.random() < 0.2:
        yield lambda: visitor.drop("broken.mid", chance.randbytes(2_000))
    yield visitor.press
    for name in ("takes", "extend", "undo", "file_midi", "file_wav"):
        if chance.random() < 0.3:
            yield partial(visitor.press, name)
    if chance.random() < 0.2:
        visitor.join()  # and leaves at once


def _watch(
    server: Server, until_s: float, held: list[tuple[float, int, int, int]], *, kill: bool
) -> int:
    """Note memory and files every second, and kill helpers every third; how many."""
    killed, never = 0, threading.Event()
    while (left_s := until_s - time.monotonic()) > 0:
        held.append((time.monotonic(), server.memory_bytes(), *server.files()))
        if kill and len(held) % 3 == 0:
            killed += server.kill_helpers()
        never.wait(min(1.0, left_s))
    return killed


def _growth(held: list[tuple[float, int, int, int]]) -> dict[str, Any]:
    """Memory in the last quarter against that after the warm-up, and the most files."""
    warm = held[int(WARM_UP * len(held)) :]
    quarter = max(len(warm) // 4, 1)
    before = statistics.median(each[1] for each in warm[:quarter])
    after = statistics.median(each[1] for each in warm[-quarter:])
    return {
        "before_bytes": before,
        "after_bytes": after,
        "growth": after / before - 1,
        "most_files": max(each[2] for each in held),
        "most_file_bytes": max(each[3] for each in held),
        "held": held,
    }


# In words -----------------------------------------------------------------------------------------


def _text(facts: dict[str, Any]) -> str:
    parts = [table([_shown(row) for row in facts["rows"]])]
    if (mixed := facts.get("mixed")) is not None:
        parts.append(_mixed_text(mixed))
    if (sent := facts.get("bodies")) is not None:
        waits = request_bodies.Stalled(**sent["stalled"])
        parts.append(request_bodies.in_words(sent["large"], sent["size_bytes"], waits))
    return "\n\n".join(parts)


def _shown(row: dict[str, Any]) -> dict[str, str]:
    return {
        "listeners": f"{row['listeners']} in a {row['kind']}",
        **{name: str(row[name]) for name in ("played", "refused", "failed", "lost")},
        "first sound p50 s": f"{row['first_p50_s']:.2f}",
        "p95 s": f"{row['first_p95_s']:.2f}",
        "end p50 s": f"{row['end_p50_s']:.2f}",
        "end p95 s": f"{row['end_p95_s']:.2f}",
        "refused within s": f"{row['refusal_s']:.2f}",
        "pieces a minute": f"{row['per_minute']:.0f}",
        "memory MB": f"{row['memory_bytes'] / 1e6:.0f}",
    }


def _mixed_text(mixed: dict[str, Any]) -> str:
    return (
        f"Mixed load: {mixed['presses']} presses, {mixed['played']} played, "
        f"{mixed['refused']} refused, {mixed['failed']} told of an error, {mixed['lost']} lost; "
        f"{mixed['killed']} helpers killed.\n"
        f"Memory {mixed['before_bytes'] / 1e6:.0f} MB after warming up, then "
        f"{mixed['after_bytes'] / 1e6:.0f} MB, {100 * mixed['growth']:+.1f} % (at most "
        f"{100 * MOST_GROWTH:.0f} %); files at most {mixed['most_files']} of "
        f"{mixed['most_file_bytes'] / 1e6:.1f} MB."
    )


if __name__ == "__main__":
    sys.exit(main())
