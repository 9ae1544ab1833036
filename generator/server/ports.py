"""Ports of this host: which are free, and the address to reach them at."""

import ipaddress
import itertools
import socket
from contextlib import ExitStack
from dataclasses import dataclass, replace

from generator.errors import BadValue, PortInUse

LOOPBACK = "127.0.0.1"
SERVICES = ("http", "grpc", "metrics")


@dataclass(frozen=True)
class Ports:
    """The three ports of a Triton on this host, and the address to reach them at."""

    http: int = 8000
    grpc: int = 8001
    metrics: int = 8002
    host: str = LOOPBACK

    @property
    def http_url(self) -> str:
        """Return the `host:port` of the HTTP service."""
        return self.url(self.http)

    @property
    def grpc_url(self) -> str:
        """Return the `host:port` of the gRPC service."""
        return self.url(self.grpc)

    @property
    def metrics_url(self) -> str:
        """Return the `host:port` of the metrics."""
        return self.url(self.metrics)

    def url(self, port: int) -> str:
        """Return `host:port`, with an IPv6 address in brackets."""
        return f"[{self.host}]:{port}" if ":" in self.host else f"{self.host}:{port}"


def check_free(ports: Ports) -> None:
    """Raise PortInUse if a program listens on a port, and BadValue if this user may not open a port."""
    for service in SERVICES:
        port = getattr(ports, service)
        with socket.socket(socket.AF_INET6 if ":" in ports.host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((ports.host, port))
            except PermissionError as error:
                hint = "choose a port above 1023"
                raise BadValue(f"{service}_port", port, "this user may not open it", hint) from error
            except OSError as error:
                hint = f"stop the program that listens there, or choose another port with `{service}_port`"
                raise PortInUse(port, ports.host, hint) from error


def on_address(ports: Ports, address: str) -> Ports:
    """Return ports that are published on an address as clients on this host reach them.

    Raises:
        BadValue: the address is not an IP address.
    """
    try:
        ip = ipaddress.ip_address(address)
    except ValueError as error:
        hint = "give an address of this host; 0.0.0.0 is all of them"
        raise BadValue("address", repr(address), "not an IP address", hint) from error
    if getattr(ip, "scope_id", None):
        raise BadValue("address", repr(address), "Docker accepts no zone", "leave out the % and what follows it")
    if ip.is_unspecified:
        return replace(ports, host="::1" if ip.version == 6 else LOOPBACK)  # noqa: PLR2004 (IPv6)
    return replace(ports, host=str(ip))


def choose_ports(ports: Ports) -> Ports:
    """Replace each port 0 by a free port.

    Raises:
        BadValue: two services have the same port.
    """
    given = {service: getattr(ports, service) for service in SERVICES}
    for first, second in itertools.combinations(SERVICES, 2):
        if given[first] == given[second] != 0:
            why = f"`{second}_port` is {given[second]} too"
            raise BadValue(f"{first}_port", given[first], why, "give each service a port of its own")
    with ExitStack() as open_together:
        for service in (service for service, port in given.items() if port == 0):
            probe = open_together.enter_context(socket.socket())
            probe.bind((LOOPBACK, 0))
            given[service] = probe.getsockname()[1]
    return replace(ports, **given)


def free_ports() -> Ports:
    """Return three free ports."""
    return choose_ports(Ports(0, 0, 0))
