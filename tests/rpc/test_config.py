"""Settings are checked where they enter."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from trunkline.addresses import check_address, check_target
from trunkline.errors import InvalidAddressError
from trunklined.rpc.config import ServerSettings


@pytest.mark.parametrize(
    "address", ["127.0.0.1:7431", "localhost:0", "[::1]:65535", "0.0.0.0:1", "unix:/run/x.sock", "unix:relative"]
)
def test_good_addresses_pass_unchanged(address: str) -> None:
    """host:port and unix:/path."""
    assert check_address(address) == address


@pytest.mark.parametrize(
    "address",
    [
        "",
        "7431",
        ":7431",
        "host:",
        "host:-1",
        "host:65536",
        "host:99999",
        "http://host:7431",
        "ho st:1",
        "host/a:1",
        "::1:7431",
        "host:٣",
        "unix:",
        "unix:/" + "x" * 107,
    ],
)
def test_bad_addresses_are_refused(address: str) -> None:
    """Anything else."""
    with pytest.raises(ValueError, match=r"host:port|path|brackets"):
        check_address(address)
    with pytest.raises(InvalidAddressError, match=r"is no address: (want host:port|.*path|.*brackets)"):
        check_target(address)


def test_a_client_connects_to_no_port_0() -> None:
    """A program may serve there, which then is another port."""
    with pytest.raises(InvalidAddressError, match="port 0"):
        check_target("127.0.0.1:0")
    assert check_target("127.0.0.1:1") == "127.0.0.1:1"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("drain_seconds", -1),
        ("drain_seconds", float("nan")),
        ("max_message_bytes", 0),
        ("keepalive_interval", 0),
        ("log_level", "loud"),
        ("metrics_address", "unix:/x"),
        ("address", None),
    ],
)
def test_a_bad_value_names_its_setting(field: str, value: object) -> None:
    """Each fault carries the field's name."""
    with pytest.raises(ValidationError) as caught:
        ServerSettings.model_validate({"address": "127.0.0.1:0", field: value})
    assert caught.value.errors()[0]["loc"][0] == field
