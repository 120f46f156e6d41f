"""The examples in deploy/: what Kubernetes would take, and what a server makes of it."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import kubernetes_validate
import pytest
import yaml
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub
from serving_process import started
from terminal import diglot

from diglot.facade import RemoteChannel
from diglot.service.config import load
from diglot.v1.model_pb2 import ListModelsRequest

# What calls in flight have once a server is told to stop.
GRACE = load(environ={}).grace_seconds
DEPLOY = Path(__file__).parent.parent / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
# The oldest version that knows preStop.sleep without a feature gate, and the newest there is.
VERSIONS = ("1.30", kubernetes_validate.latest_version())

Resource = dict[str, Any]


def resources(file: str) -> dict[tuple[str, str], Resource]:
    """By kind and name."""
    documents = yaml.safe_load_all((KUBERNETES / file).read_text())
    return {(each["kind"], each["metadata"]["name"]): each for each in documents}


def pod_of(deployment: Resource) -> tuple[Resource, Resource]:
    """The pod's spec, and that of its one container."""
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    return pod, container


def ports_of(container: Resource) -> dict[str, int]:
    return {port["name"]: port["containerPort"] for port in container["ports"]}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("file", sorted(path.name for path in KUBERNETES.glob("*.yaml")))
def test_kubernetes_takes_the_manifests(file: str, version: str) -> None:
    for resource in resources(file).values():
        kubernetes_validate.validate(resource, version, strict=True)


def test_the_validator_sees_a_misspelt_key() -> None:
    budget = resources("diglot.yaml")["PodDisruptionBudget", "diglot"]
    budget["spec"]["maxUnavailabel"] = 1
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(budget, VERSIONS[0], strict=True)


@pytest.mark.parametrize(
    ("file", "name"), [("diglot.yaml", "diglot"), ("facade.yaml", "diglot-facade")]
)
def test_services_and_budgets_find_the_pods(file: str, name: str) -> None:
    found = resources(file)
    deployment = found["Deployment", name]
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    pod, container = pod_of(deployment)
    assert deployment["spec"]["selector"]["matchLabels"] == labels
    assert found["PodDisruptionBudget", name]["spec"]["selector"]["matchLabels"] == labels
    for (kind, _), service in found.items():
        if kind == "Service":
            assert service["spec"]["selector"] == labels
            for port in service["spec"]["ports"]:
                assert port["targetPort"] in ports_of(container)
    # Calls in flight have their time, also after the pause.
    pause = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod["terminationGracePeriodSeconds"] >= pause + GRACE + 5


@pytest.mark.parametrize(
    ("file", "name"), [("diglot.yaml", "diglot"), ("facade.yaml", "diglot-facade")]
)
def test_prometheus_finds_the_admin_port(file: str, name: str) -> None:
    """And nobody else does: no Service leads to it."""
    found = resources(file)
    template = found["Deployment", name]["spec"]["template"]
    _, container = pod_of(found["Deployment", name])
    admin = ports_of(container)["admin"]
    assert template["metadata"]["annotations"]["prometheus.io/port"] == str(admin)
    for (kind, _), service in found.items():
        if kind == "Service":
            assert all(port["targetPort"] != "admin" for port in service["spec"]["ports"])


def test_a_facade_is_sent_to_the_headless_service() -> None:
    service = resources("diglot.yaml")["Service", "diglot-grpc"]
    assert service["spec"]["clusterIP"] == "None"
    (port,) = service["spec"]["ports"]
    _, container = pod_of(resources("facade.yaml")["Deployment", "diglot-facade"])
    assert f"--service=dns:///diglot-grpc:{port['port']}" in container["args"]


class Pod:
    """The example's pod as a process: its volumes are directories."""

    def __init__(self, directory: Path) -> None:
        found = resources("diglot.yaml")
        self.spec, self.container = pod_of(found["Deployment", "diglot"])
        self.volumes: dict[str, tuple[Path, str]] = {
            mount["name"]: (directory / mount["name"], mount["mountPath"])
            for mount in self.container["volumeMounts"]
        }
        for ours, _ in self.volumes.values():
            ours.mkdir()
        files = found["ConfigMap", "diglot"]["data"]
        for name, text in files.items():
            (self.directory("config") / name).write_text(self._moved(text))

    def directory(self, volume: str) -> Path:
        return self.volumes[volume][0]

    @property
    def arguments(self) -> list[str]:
        return [self._moved(argument) for argument in self.container["args"]]

    def _moved(self, text: str) -> str:
        """With our directories where the pod has its mounts."""
        places = {theirs: str(ours) for ours, theirs in self.volumes.values()}
        mounts = "|".join(sorted(map(re.escape, places), reverse=True))
        return re.sub(rf'(?<![^"=])({mounts})(?![^"/])', lambda found: places[found[0]], text)

    def put_secret(self, version: str, files: dict[str, bytes]) -> None:
        """As the kubelet does it: links to links, of which one is replaced."""
        directory = self.directory("secrets")
        (directory / version).mkdir()
        for name, content in files.items():
            (directory / version / name).write_bytes(content)
            if not (directory / name).is_symlink():
                (directory / name).symlink_to(f"..data/{name}")
        (directory / "..data_tmp").symlink_to(version)
        (directory / "..data_tmp").rename(directory / "..data")


def test_the_configuration_agrees_with_the_manifest(tmp_path: Path) -> None:
    pod = Pod(tmp_path)
    pod.put_secret("..1", {"keys.json": b"", "store-url": b"postgresql://me:secret@db/diglot"})
    settings = load(pod.directory("config") / "diglot.toml")
    assert settings.admin.address is not None
    ports = {"http": settings.http.address.port, "grpc": settings.grpc.address.port}
    ports["admin"] = settings.admin.address.port
    assert ports_of(pod.container) == ports
    for probe in ("startupProbe", "readinessProbe"):
        assert pod.container[probe]["grpc"]["port"] == ports["grpc"]
    assert not settings.grpc.address.is_loopback
    assert not settings.http.address.is_loopback
    assert settings.state == pod.directory("state")
    mounted = {volume["name"] for volume in pod.spec["volumes"]}
    assert mounted == set(pod.volumes)
    assert pod.container["securityContext"]["readOnlyRootFilesystem"]
    assert pod.spec["securityContext"]["runAsNonRoot"]


async def test_the_pod_takes_its_keys_from_the_secret(tmp_path: Path) -> None:
    """Also new ones, while it runs; and it writes nothing there."""
    (tmp_path / "pod").mkdir()
    pod = Pod(tmp_path / "pod")
    keys = {name: await key_file(tmp_path / name) for name in ("old", "new")}
    url = f"sqlite:///{pod.directory('state')}/completions.db".encode()
    pod.put_secret("..1", {"keys.json": keys["old"][1], "store-url": url})
    before = set(pod.directory("secrets").rglob("*"))
    command, *arguments = pod.arguments
    ports = ("--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--admin", "127.0.0.1:0")
    async with started(command, *arguments, *ports, "--model", "scripted") as server:
        line = await server.said("curl ")
        assert "$DIGLOT_API_KEY" in line
        channel = RemoteChannel(server.grpc)

        async def code(name: str) -> grpc.StatusCode:
            metadata = (("authorization", f"Bearer {keys[name][0]}"),)
            try:
                await channel.ListModels(ListModelsRequest(), timeout=10, metadata=metadata)
            except grpc.aio.AioRpcError as error:
                return error.code()
            return grpc.StatusCode.OK

        try:
            assert await code("old") == grpc.StatusCode.OK
            assert await code("new") == grpc.StatusCode.UNAUTHENTICATED
            assert set(pod.directory("secrets").rglob("*")) == before
            pod.put_secret("..2", {"keys.json": keys["new"][1], "store-url": url})
            assert await code("new") == grpc.StatusCode.OK
            assert await code("old") == grpc.StatusCode.UNAUTHENTICATED
        finally:
            await channel.close()
        await probe(pod.container, server.grpc, server.http)
        assert await server.stop() == 0
    assert all(json.loads(line) for line in server.err), "one JSON object a line"


async def key_file(state: Path) -> tuple[str, bytes]:
    """A key, and the file with it, as deploy/README.md has them made."""
    key = (await diglot("key", "add", "me", "--state", str(state))).out.strip()
    return key, (state / "keys.json").read_bytes()


async def probe(container: Resource, grpc_address: str, http_url: str) -> None:
    async with grpc.aio.insecure_channel(grpc_address) as channel:
        service = container["readinessProbe"]["grpc"].get("service", "")
        said = await HealthStub(channel).Check(HealthCheckRequest(service=service))
        assert said.status == HealthCheckResponse.SERVING
    path = container["livenessProbe"]["httpGet"]["path"]
    async with (
        aiohttp.ClientSession() as session,
        session.get(http_url.removesuffix("/v1") + path) as answer,
    ):
        assert answer.status == 200


async def test_a_pod_without_its_keys_says_so(tmp_path: Path) -> None:
    """Rather than make one that nobody reads, or refuse everybody."""
    pod = Pod(tmp_path)
    pod.put_secret("..1", {"store-url": b"sqlite:///x.db"})
    command, *arguments = pod.arguments
    outcome = await diglot(command, *arguments, "--model", "scripted")
    assert outcome.code == 1
    assert "auth.keys_file" in outcome.err
    assert not (pod.directory("secrets") / "keys.json").exists()


def test_the_servers_of_one_machine_are_those_that_the_facade_asks() -> None:
    """Also those that the unit's text tells to start."""
    file = DEPLOY / "systemd" / "diglot.toml"
    assert load(file).models
    target = tomllib.loads(file.read_text())["facade"]["service"]
    ports = [address.rpartition(":")[2] for address in target.split(",")]
    unit = (DEPLOY / "systemd" / "diglot@.service").read_text()
    assert " ".join(f"diglot@{port}" for port in ports) in unit
    stop = int(unit.partition("TimeoutStopSec=")[2].split()[0])
    assert stop > GRACE + 5
