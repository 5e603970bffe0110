"""Tests cannot reach the network, except for this machine."""

from __future__ import annotations

import os
import socket
import urllib.request

import pytest


def test_a_connection_to_the_outside_is_refused() -> None:
    with (
        socket.socket() as client,
        pytest.raises(RuntimeError, match=r"connects to '192\.0\.2\.1'"),
    ):
        client.connect(("192.0.2.1", 80))


def test_a_name_is_not_resolved() -> None:
    with pytest.raises(RuntimeError, match=r"connects to 'example\.org'"):
        urllib.request.urlopen("http://example.org", timeout=1)


def test_a_datagram_to_the_outside_is_refused() -> None:
    with (
        socket.socket(type=socket.SOCK_DGRAM) as sender,
        pytest.raises(RuntimeError, match=r"connects to '192\.0\.2\.1'"),
    ):
        sender.sendto(b"hello", ("192.0.2.1", 9))


def test_a_connection_to_this_machine_works() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(("localhost", server.getsockname()[1])) as client,
        server.accept()[0] as listener,
    ):
        client.sendall(b"do re mi")
        assert listener.recv(8) == b"do re mi"


def test_the_hub_client_is_offline() -> None:
    assert os.environ["HF_HUB_OFFLINE"] == "1"
