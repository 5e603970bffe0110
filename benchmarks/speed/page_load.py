"""`python -m benchmarks.speed.page_load`: many concurrent users of one server on this machine.

In a burst all users click Continue at the same moment, in a wave one after another. Each has its
own address, as behind a proxy. A job that is accepted and never ends is lost; none may be lost.
`--minutes` adds a mixed load and measures memory and temporary files. `--bodies` sends oversized
request bodies and uploads that never end.
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
from typing import Any, NamedTuple

import httpx

from benchmarks.common.app_server import AppProcess, run_app
from benchmarks.common.http_client import JobResult, PageClient
from benchmarks.common.report import Report, ReportError, parser, run, table
from benchmarks.speed import request_bodies
from musiclstm.cli import run_command
from musiclstm.examples import example_files

WARM_UP_SHARE = 0.25  # of the mixed load
MAX_GROWTH = 0.10


class MemorySample(NamedTuple):
    """Memory and temporary files of the server at one time."""

    time_s: float
    memory_bytes: int
    files: int
    file_bytes: int


def main(argv: list[str] | None = None) -> int:
    """Run the command; return 1 after an error."""
    options = parser("benchmarks.speed.page_load", "Many concurrent users.", data=False)
    add = options.add_argument
    add("--listeners", default="1,5,10,20,60", help="numbers of users (1,5,10,20,60)")
    add("--wave", type=float, default=10.0, help="seconds over which a wave arrives (10)")
    add("--bars", type=int, default=8, help="bars that each user requests (8)")
    add("--minutes", type=float, default=0.0, help="duration of the mixed load; 0: none (0)")
    add("--visitors", type=int, default=5, help="concurrent users of the mixed load (5)")
    add("--kill", action="store_true", help="kill worker processes during the mixed load")
    add("--bodies", type=int, default=0, metavar="MB", help="size of large bodies; 0: none (0)")
    add("--stalled", type=int, default=300, help="uploads that never end, with --bodies (300)")
    add("--model", default="default", help="a checkpoint folder or a Hub id")
    return run(measure, options.parse_args(argv))


def measure(options: argparse.Namespace) -> Report:
    """Measure one server for each number of users, in a burst and in a wave."""
    counts = _user_counts(options.listeners)
    facts: dict[str, Any] = {"rows": []}
    with run_app(options.model) as server:
        config = _warm_up(server, options.bars)
        for count in counts:
            for kind, over_s in (("burst", 0.0), ("wave", options.wave)):
                row = _run_users(server, config, count, over_s, options.bars)
                facts["rows"].append({"listeners": count, "kind": kind, **row})
        if options.minutes > 0:
            facts["mixed"] = _run_mixed_load(server, config, options)
        if options.bodies > 0:
            size = options.bodies * 1_000_000
            large = request_bodies.send_large_bodies(server, size)
            stalled = request_bodies.stall_uploads(server, options.stalled)
            facts["bodies"] = {"size_bytes": size, "large": large, "stalled": vars(stalled)}
    return Report(_text(facts), facts)


def _user_counts(text: str) -> list[int]:
    try:
        counts = [int(part) for part in text.split(",")]
    except ValueError:
        counts = []
    if not counts or min(counts) < 1:
        raise ReportError(f"--listeners must be numbers such as 1,5,10, got {text!r}.")
    return counts


def _warm_up(server: AppProcess, bars: int) -> dict[str, Any]:
    """Compose once, so that everything is loaded; return Gradio's config."""
    with contextlib.closing(_client(server, None, 0, bars)) as client:
        result = client.run()
        if result.error or not result.ended:
            raise ReportError(f"The page does not compose: {result.error or 'the job was lost'}.")
        return client.config


def _client(
    server: AppProcess, config: dict[str, Any] | None, number: int, bars: int
) -> PageClient:
    """Return a client with its own address, from the range for benchmarks (RFC 2544)."""
    address = f"198.18.{number // 250 % 250}.{number % 250 + 1}"
    client = PageClient(server.url, address=address, config=config)
    client.set("New bars", bars)
    return client


# Bursts and waves ---------------------------------------------------------------------------------


def _run_users(
    server: AppProcess, config: dict[str, Any], count: int, over_s: float, bars: int
) -> dict[str, Any]:
    """Let each user run one job; their starts are spread over `over_s` seconds."""
    begin_s = time.perf_counter()

    def run_user(number: int) -> JobResult | None:
        with contextlib.closing(_client(server, config, number, bars)) as client:
            time.sleep(over_s * number / count)
            return _result_of(client.run)

    with ThreadPoolExecutor(count) as pool:
        results = list(pool.map(run_user, range(count)))
    return _summarize(results, time.perf_counter() - begin_s, server.memory_bytes())


def _result_of(job: Callable[[], JobResult]) -> JobResult | None:
    """Run a job; None if the connection breaks."""
    try:
        return job()
    except httpx.TransportError:
        return None


def _summarize(
    results: list[JobResult | None], seconds: float, memory_bytes: int
) -> dict[str, Any]:
    known = [each for each in results if each is not None]
    played = [each for each in known if each.ended and not each.error]
    refused = [each for each in known if each.status != 200]
    failed = [each for each in known if each.ended and each.error]
    first = [each.first_sound_s for each in played if each.first_sound_s is not None]
    end = [each.end_s for each in played]
    return {
        "played": len(played),
        "refused": len(refused),
        "failed": len(failed),
        "lost": len(results) - len(played) - len(refused) - len(failed),
        "first_p50_s": _percentile(first, 50),
        "first_p95_s": _percentile(first, 95),
        "end_p50_s": _percentile(end, 50),
        "end_p95_s": _percentile(end, 95),
        "refusal_s": max((each.end_s for each in refused), default=0.0),
        "per_minute": 60 * len(played) / seconds,
        "memory_bytes": memory_bytes,
        "sentences": sorted({each.error for each in (*refused, *failed)}),
    }


def _percentile(values: list[float], percent: int) -> float:
    """Return the nearest value to a percentile; NaN without values."""
    if not values:
        return float("nan")
    ordered = sorted(values)
    return ordered[round(percent / 100 * (len(ordered) - 1))]


# Mixed load ---------------------------------------------------------------------------------------


def _run_mixed_load(
    server: AppProcess, config: dict[str, Any], options: argparse.Namespace
) -> dict[str, Any]:
    """Let users upload, compose, download and leave; sample memory and files every second."""
    end_s = time.monotonic() + 60 * options.minutes
    with ThreadPoolExecutor(options.visitors) as pool:
        users = [
            pool.submit(_run_sessions, server, config, number, options.bars, end_s)
            for number in range(options.visitors)
        ]
        samples, killed = _sample_memory(server, end_s, kill=options.kill)
        results = [result for user in users for result in user.result()]
    row = _summarize(results, 60 * options.minutes, server.memory_bytes())
    return row | _growth(samples) | {"presses": len(results), "killed": killed}


def _run_sessions(
    server: AppProcess, config: dict[str, Any], number: int, bars: int, end_s: float
) -> list[JobResult | None]:
    """Run one session after another until the time is over."""
    rng, results = random.Random(number), list[JobResult | None]()
    examples = [path.read_bytes() for path in example_files().values()]
    while time.monotonic() < end_s:
        with contextlib.closing(_client(server, config, number, bars)) as client:
            results += [_result_of(job) for job in _session_jobs(client, rng, examples)]
    return results


def _session_jobs(
    client: PageClient, rng: random.Random, examples: list[bytes]
) -> Iterator[Callable[[], JobResult]]:
    """Yield the jobs of one session, drawn at random."""
    if rng.random() < 0.5:
        yield partial(client.upload, "motif.mid", rng.choice(examples))
    if rng.random() < 0.2:
        yield partial(client.upload, "broken.mid", rng.randbytes(2_000))
    yield client.run
    for name in ("takes", "compose", "undo", "file_midi", "file_wav"):
        if rng.random() < 0.3:
            yield partial(client.run, name)
    if rng.random() < 0.2:
        client.join()  # the session ends before this job


def _sample_memory(
    server: AppProcess, end_s: float, *, kill: bool
) -> tuple[list[MemorySample], int]:
    """Sample every second, and kill the workers every third; return the number killed."""
    samples: list[MemorySample] = []
    killed, timer = 0, threading.Event()
    while (left_s := end_s - time.monotonic()) > 0:
        samples.append(MemorySample(time.monotonic(), server.memory_bytes(), *server.count_files()))
        if kill and len(samples) % 3 == 0:
            killed += server.kill_workers()
        timer.wait(min(1.0, left_s))
    return samples, killed


def _growth(samples: list[MemorySample]) -> dict[str, Any]:
    """Compare the memory of the last quarter with that of the first one after the warm-up."""
    warm = samples[int(WARM_UP_SHARE * len(samples)) :]
    quarter = max(len(warm) // 4, 1)
    before = statistics.median(each.memory_bytes for each in warm[:quarter])
    after = statistics.median(each.memory_bytes for each in warm[-quarter:])
    return {
        "before_bytes": before,
        "after_bytes": after,
        "growth": after / before - 1,
        "most_files": max(each.files for each in samples),
        "most_file_bytes": max(each.file_bytes for each in samples),
        "held": samples,
    }


# Text ---------------------------------------------------------------------------------------------


def _text(facts: dict[str, Any]) -> str:
    parts = [table([_table_row(row) for row in facts["rows"]])]
    if (mixed := facts.get("mixed")) is not None:
        parts.append(_mixed_text(mixed))
    if (sent := facts.get("bodies")) is not None:
        stalled = request_bodies.StalledUploads(**sent["stalled"])
        parts.append(request_bodies.describe(sent["large"], sent["size_bytes"], stalled))
    return "\n\n".join(parts)


def _table_row(row: dict[str, Any]) -> dict[str, str]:
    return {
        "users": f"{row['listeners']} in a {row['kind']}",
        **{name: str(row[name]) for name in ("played", "refused", "failed", "lost")},
        "first sound p50 s": f"{row['first_p50_s']:.2f}",
        "p95 s": f"{row['first_p95_s']:.2f}",
        "end p50 s": f"{row['end_p50_s']:.2f}",
        "end p95 s": f"{row['end_p95_s']:.2f}",
        "refused within s": f"{row['refusal_s']:.2f}",
        "pieces per minute": f"{row['per_minute']:.0f}",
        "memory MB": f"{row['memory_bytes'] / 1e6:.0f}",
    }


def _mixed_text(mixed: dict[str, Any]) -> str:
    return (
        f"Mixed load: {mixed['presses']} jobs, {mixed['played']} played, "
        f"{mixed['refused']} refused, {mixed['failed']} failed with an error message, "
        f"{mixed['lost']} lost; {mixed['killed']} worker processes killed.\n"
        f"Memory {mixed['before_bytes'] / 1e6:.0f} MB after warming up, then "
        f"{mixed['after_bytes'] / 1e6:.0f} MB, {100 * mixed['growth']:+.1f} % (at most "
        f"{100 * MAX_GROWTH:.0f} %); at most {mixed['most_files']} files of "
        f"{mixed['most_file_bytes'] / 1e6:.1f} MB."
    )


if __name__ == "__main__":
    sys.exit(run_command(main))
