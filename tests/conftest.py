"""Settings and fixtures of all tests: no network, no telemetry, one thread, fixed examples.

The environment must be set before torch, huggingface_hub or gradio are imported, so this module
imports none of them at its top.
"""

from __future__ import annotations

import ipaddress
import os
import random
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import hypothesis
import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["MPLBACKEND"] = "Agg"
os.environ.setdefault("OMP_NUM_THREADS", "1")  # the models of the tests are too small for several

# The same examples on every machine; no deadline, because machines differ in speed.
hypothesis.settings.register_profile("musiclstm", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("musiclstm")


class NetworkRefusedError(RuntimeError):
    """A test used the network. Not an `OSError`, which libraries catch and retry."""


@pytest.fixture(autouse=True)
def _block_network(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.node.get_closest_marker("network"):
        monkeypatch.delenv("HF_HUB_OFFLINE")
    else:
        for name, index in (("connect", 0), ("connect_ex", 0), ("sendto", -1)):
            monkeypatch.setattr(socket.socket, name, _local_only(name, index))
        monkeypatch.setattr(socket, "getaddrinfo", _local_lookup(socket.getaddrinfo))


def _local_only(name: str, index: int) -> Callable[..., Any]:
    """Return the socket method with a check of the address, its argument at `index`."""
    method = getattr(socket.socket, name)

    def checked(self: socket.socket, *args: Any) -> Any:
        if self.family in (socket.AF_INET, socket.AF_INET6):
            _check_host(args[index][0])
        return method(self, *args)

    return checked


def _local_lookup(lookup: Callable[..., Any]) -> Callable[..., Any]:
    def checked(host: str | bytes | None, *args: Any, **kwargs: Any) -> Any:
        _check_host(host)
        return lookup(host, *args, **kwargs)

    return checked


def _check_host(host: str | bytes | None) -> None:
    name = host.decode() if isinstance(host, bytes) else host
    if name and not _is_local(name):
        raise NetworkRefusedError(
            f"This test connects to {name!r}; mark tests that need the network with `network`."
        )


def _is_local(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


# Small models -------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def invented() -> Callable[..., Any]:
    """Return `_invent`, which makes small random scores."""
    return _invent


def _invent(
    *,
    meter: tuple[int, int] = (4, 4),
    bars: int = 4,
    programs: Sequence[int] = (0,),
    tempo_bpm: float = 120,
    ticks_per_quarter: int = 480,
    seed: int = 0,
) -> Any:
    """Return random chords on sixteenths and triplets, which tokens can represent exactly.

    Every beat has a note, notes of one pitch do not overlap, and the last note ends with the last
    bar. Program -1 is drums.
    """
    from symusic.core import NoteTick, ScoreTick, TempoTick, TimeSignatureTick, TrackTick

    rng = random.Random(seed)
    beat = 4 * ticks_per_quarter // meter[1]
    score = ScoreTick(ticks_per_quarter)
    score.tempos.append(TempoTick(0, tempo_bpm))
    score.time_signatures.append(TimeSignatureTick(0, *meter))
    for program in programs:
        track = TrackTick(f"Track {program}", max(program, 0), program == -1)
        for at in range(bars * meter[0]):
            step = rng.choice((beat // 4, beat // 3, beat))
            for start in range(0, beat, step):
                if start == 0 or rng.random() < 0.5:
                    pitches = rng.sample(range(40, 80), rng.choice((1, 1, 2, 3)))
                    for pitch in sorted(pitches):
                        velocity = rng.choice((63, 79, 95))
                        track.notes.append(NoteTick(at * beat + start, step, pitch, velocity))
        score.tracks.append(track)
    return score


@pytest.fixture(scope="session")
def tiny_tokenizer() -> Any:
    """Return the tokenizer; its vocabulary is fixed."""
    from musiclstm import MusicTokenizer

    return MusicTokenizer()


@pytest.fixture(scope="session")
def tiny_network(tiny_tokenizer: Any) -> Callable[..., Any]:
    """Return a function that builds untrained networks; their music is random but reproducible.

    A bias on the Bar token keeps bars short.
    """
    import torch

    from musiclstm import MusicLSTMConfig, MusicLSTMForCausalLM

    def build(*, seed: int = 0, **values: Any) -> MusicLSTMForCausalLM:
        torch.manual_seed(seed)
        names = list(tiny_tokenizer.token_names)
        fields = {"vocab_size": len(names), "token_names": names}
        sizes = {"hidden_size": 16, "num_hidden_layers": 1}
        config = MusicLSTMConfig(**(fields | sizes | values))
        model = MusicLSTMForCausalLM(config).eval()
        with torch.no_grad():
            model.lm_head.bias[tiny_tokenizer.ids["Bar_None"]] = 3.0
        return model

    return build


@pytest.fixture(scope="session")
def tiny_model(tiny_network: Callable[..., Any]) -> Any:
    """Return a network with two layers of 32 units; copy it before you change it."""
    return tiny_network(hidden_size=32, num_hidden_layers=2)


@pytest.fixture(scope="session")
def tiny_checkpoint(
    tiny_model: Any, tiny_tokenizer: Any, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Return `tiny_model` as a checkpoint folder; copy it before you change a file in it."""
    from musiclstm.model.checkpoint import save_checkpoint

    folder = tmp_path_factory.mktemp("tiny")
    save_checkpoint(folder, tiny_model, tiny_tokenizer, facts={"steps": 0})
    return folder


@pytest.fixture(scope="session")
def tiny_composer(tiny_checkpoint: Path) -> Any:
    """Return `tiny_model` as a composer, which is stateless."""
    from musiclstm import Composer

    return Composer.from_pretrained(tiny_checkpoint)
