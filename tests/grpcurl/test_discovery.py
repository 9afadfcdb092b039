"""All three programs say what they are: reflection and health."""

from __future__ import annotations

import pytest

from tests.grpcurl.conftest import Grpcurl

PROGRAMS = {
    "bus_address": ["trunkline.v1.BusService"],
    "state_address": ["trunkline.v1.StateService"],
    "sidecar_address": ["trunkline.v1.BusService", "trunkline.v1.StateService"],
}


@pytest.mark.parametrize("program", PROGRAMS)
def test_list_names_the_services(grpcurl: Grpcurl, request: pytest.FixtureRequest, program: str) -> None:
    """The services of the program, health and reflection; nothing else."""
    said = grpcurl(request.getfixturevalue(program), "list")
    reflection = ["grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"]
    others = ["grpc.health.v1.Health", *reflection]
    assert sorted(said.out.split()) == sorted(PROGRAMS[program] + others)


@pytest.mark.parametrize("program", PROGRAMS)
def test_describe_shows_calls_and_messages(grpcurl: Grpcurl, request: pytest.FixtureRequest, program: str) -> None:
    """Enough to write a call by hand."""
    address = request.getfixturevalue(program)
    for service in PROGRAMS[program]:
        said = grpcurl(address, "describe", None, service)
        assert "rpc " in said.out
    message = grpcurl(address, "describe", None, "trunkline.v1.Error")
    assert "string reason = 1;" in message.out
    assert grpcurl(address, "describe").code == 0, "of all services, reflection's own two versions too"


def test_describe_shows_what_the_protos_say_of_it(grpcurl: Grpcurl, bus_address: str) -> None:
    """A call, and how a request is answered, with their comments."""
    call = grpcurl(bus_address, "describe", None, "trunkline.v1.BusService.Request")
    assert "// Publishes one message and waits for its reply" in call.out
    answer = grpcurl(bus_address, "describe", None, "trunkline.v1.RespondRequest")
    assert "// The correlation id of the request's message." in answer.out


@pytest.mark.parametrize("program", PROGRAMS)
def test_health_is_said_for_each_service_and_for_all(
    grpcurl: Grpcurl, request: pytest.FixtureRequest, program: str
) -> None:
    """As Kubernetes asks."""
    address = request.getfixturevalue(program)
    for service in ["", *PROGRAMS[program]]:
        said = grpcurl(address, "grpc.health.v1.Health/Check", {"service": service})
        assert said.json() == {"status": "SERVING"}
    assert grpcurl(address, "grpc.health.v1.Health/Check", {"service": "nobody"}).code != 0
