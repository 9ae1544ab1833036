"""Ports of a server on this host."""

import socket

import pytest

from generator.errors import BadValue
from generator.server.ports import LOOPBACK, Ports, check_free, choose_ports


def test_port_zero_takes_a_free_port():
    """Other ports stay as they are, and no two ports are equal."""
    with socket.socket() as taken:
        taken.bind((LOOPBACK, 0))
        given = Ports(0, taken.getsockname()[1], 0)
        chosen = choose_ports(given)
    assert chosen.grpc == given.grpc
    assert len({chosen.http, chosen.grpc, chosen.metrics, 0}) == 4
    check_free(chosen)


def test_two_services_on_one_port():
    """The error names the second service."""
    with pytest.raises(BadValue, match="`metrics_port` is 8000 too"):
        choose_ports(Ports(8000, 8001, 8000))
