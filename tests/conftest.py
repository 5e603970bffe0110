"""What every test gets: no network, no telemetry, one thread, the same examples each time.

What is set here must be set before torch, huggingface_hub or gradio are imported, so none of them
is imported here.
"""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Callable
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
