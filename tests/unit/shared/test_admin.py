"""Where an admin port is found by others."""

from __future__ import annotations

import ipaddress
import socket

import pytest

from shared.telemetry import admin
from shared.telemetry.admin import reachable


def test_a_port_that_listens_at_one_address_is_found_there() -> None:
    assert reachable("127.0.0.1", 40001) == "127.0.0.1:40001"
    assert reachable("gpu-7.internal", 40001) == "gpu-7.internal:40001"


@pytest.mark.parametrize("host", ["0.0.0.0", ""])
def test_one_on_all_interfaces_is_found_at_the_machines_own(host: str) -> None:
    address, _, port = reachable(host, 40001).rpartition(":")
    assert port == "40001"
    assert address == socket.gethostname() or not ipaddress.ip_address(address).is_unspecified


def test_a_machine_without_a_way_out_is_found_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin, "ELSEWHERE", ("255.255.255.255", 9))  # refused without a flag that nobody sets
    assert reachable("", 40001) == f"{socket.gethostname()}:40001"
