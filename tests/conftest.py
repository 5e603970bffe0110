"""What every test gets: no network, no telemetry, one thread, the same examples each time.

What is set here must be set before torch, huggingface_hub or gradio are imported, so none of them
is imported here.
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
os.environ.setdefault("OMP_NUM_THREADS", "1")  # the models of the tests are too small to share out

# The same examples on every machine, and no deadline: a slow machine is no bug.
hypothesis.settings.register_profile("musiclstm", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("musiclstm")


class NetworkRefusedError(RuntimeError):
    """A test reached for the network. No `OSError`: those are caught and retried by libraries."""


@pytest.fixture(autouse=True)
def _only_marked_tests_reach_the_network(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    if request.node.get_closest_marker("network"):
        monkeypatch.delenv("HF_HUB_OFFLINE")
    else:
        for name, place in (("connect", 0), ("connect_ex", 0), ("sendto", -1)):
            monkeypatch.setattr(socket.socket, name, _guarded(name, place))
        monkeypatch.setattr(socket, "getaddrinfo", _guarded_lookup(socket.getaddrinfo))


def _guarded(name: str, place: int) -> Callable[..., Any]:
    """The socket method, refusing an address (its argument at `place`) outside this machine."""
    method = getattr(socket.socket, name)

    def guarded(self: socket.socket, *args: Any) -> Any:
        if self.family in (socket.AF_INET, socket.AF_INET6):
            _refuse_outside(args[place][0])
        return method(self, *args)

    return guarded


def _guarded_lookup(lookup: Callable[..., Any]) -> Callable[..., Any]:
    def guarded(host: str | bytes | None, *args: Any, **kwargs: Any) -> Any:
        _refuse_outside(host)
        return lookup(host, *args, **kwargs)

    return guarded


def _refuse_outside(host: str | bytes | None) -> None:
    name = host.decode() if isinstance(host, bytes) else host
    if name and not _is_here(name):
        raise NetworkRefusedError(
            f"This test reached for {name!r}; tests do without the network, or carry the mark"
            " `network`."
        )


def _is_here(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


# -- A toy through the public door ---------------------------------------------------------------


@pytest.fixture(scope="session")
def invented() -> Callable[..., Any]:
    """A maker of small scores, see `_invent`."""
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
    """A piece made by chance that the tokens can say exactly: chords on sixteenths and triplets.

    Every bar has a note on its first beat; no key is struck again before it was let go, and the
    last note ends with the last bar. Program -1 is drums.
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
    """The tokenizer; its vocabulary is fixed."""
    from musiclstm import MusicTokenizer

    return MusicTokenizer()


@pytest.fixture(scope="session")
def tiny_network(tiny_tokenizer: Any) -> Callable[..., Any]:
    """A maker of untrained networks with step features: their music is random but reproducible.

    Bars end early, so that tests do not wait for thousands of notes.
    """
    import torch

    from musiclstm import MusicLSTMConfig, MusicLSTMForCausalLM

    def build(*, seed: int = 0, **values: Any) -> MusicLSTMForCausalLM:
        torch.manual_seed(seed)
        sizes = {"hidden_size": 16, "num_hidden_layers": 1}
        names = list(tiny_tokenizer.token_names)
        config = MusicLSTMConfig(vocab_size=len(names), token_names=names, **(sizes | values))
        model = MusicLSTMForCausalLM(config).eval()
        with torch.no_grad():
            model.lm_head.bias[tiny_tokenizer.ids["Bar_None"]] = 3.0
        return model

    return build


@pytest.fixture(scope="session")
def tiny_model(tiny_network: Callable[..., Any]) -> Any:
    """Two layers of 32; copy it before you change it."""
    return tiny_network(hidden_size=32, num_hidden_layers=2)


@pytest.fixture(scope="session")
def tiny_checkpoint(
    tiny_model: Any, tiny_tokenizer: Any, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The toy as a folder; copy it before you change a file in it."""
    from musiclstm.model.checkpoint import save_checkpoint

    folder = tmp_path_factory.mktemp("tiny")
    save_checkpoint(folder, tiny_model, tiny_tokenizer, facts={"steps": 0})
    return folder


@pytest.fixture(scope="session")
def tiny_composer(tiny_checkpoint: Path) -> Any:
    """The toy as a composer; it holds no state of any piece, so all tests can share it."""
    from musiclstm import Composer

    return Composer.from_pretrained(tiny_checkpoint)
