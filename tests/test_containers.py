"""The files that containers are made by: what each container may do, and the variables that say how."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
COMPOSE = ROOT / "docker-compose.yml"
VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")


def composed(file: Path = COMPOSE, **variables: str) -> dict[str, Any]:
    """What Compose reads from a file where these variables are set and no others."""
    text = VARIABLE.sub(lambda named: variables.get(named[1]) or named[2] or "", file.read_text(encoding="utf-8"))
    content: dict[str, Any] = yaml.safe_load(text)
    return content


@pytest.mark.parametrize("service", composed()["services"])
def test_a_container_may_write_to_its_volumes_and_tmp_and_has_no_privileges(service: str) -> None:
    container = composed()["services"][service]
    assert container["read_only"] is True
    assert container["tmpfs"] == ["/tmp"]
    assert container["cap_drop"] == ["ALL"]
    assert container["security_opt"] == ["no-new-privileges:true"]
    assert "cap_add" not in container
    assert container["logging"]["options"].keys() == {"max-size", "max-file"}
    assert container["pids_limit"] > 0


def test_redis_is_reached_by_workers_and_services_alone_and_ports_by_this_machine_alone() -> None:
    compose = composed()
    services = compose["services"]
    assert services["redis"]["networks"] == ["redis"]
    assert services["redis"]["user"] == "999:999"
    assert compose["networks"]["redis"]["internal"] is True
    assert {name for name in services if "redis" in services[name]["networks"]} == {"redis", "service", "worker"}
    published = [port for container in services.values() for port in container.get("ports", ())]
    assert published and all(port.startswith("127.0.0.1:") for port in published)


def test_what_differs_between_installations_is_a_variable_that_the_page_names() -> None:
    files = COMPOSE, ROOT / "docker-compose.gpu.yml"
    variables = {named[1] for file in files for named in VARIABLE.finditer(file.read_text(encoding="utf-8"))}
    page = (ROOT / "docs" / "docker.md").read_text(encoding="utf-8")
    assert {name for name in variables if f"`{name}`" not in page} == set()
    chosen = composed(
        ERRATA_PORT="9000-9003",
        ERRATA_ALLOWED_HOSTS="errata.example.com",
        OTEL_EXPORTER_OTLP_ENDPOINT="http://collector:4318",
        WORKER_MEMORY="16g",
        REDIS_IMAGE="valkey",
    )["services"]
    assert chosen["service"]["ports"] == ["127.0.0.1:9000-9003:8000"]
    assert chosen["service"]["environment"]["ERRATA_ALLOWED_HOSTS"] == "errata.example.com"
    for name in ("service", "worker"):
        assert chosen[name]["environment"]["OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://collector:4318"
    assert chosen["worker"]["mem_limit"] == "16g"
    assert chosen["redis"]["image"] == "valkey"


def test_the_images_take_every_argument_and_begin_with_the_image_that_is_named() -> None:
    dockerfile = (ROOT / "docker" / "Dockerfile").read_text(encoding="utf-8")
    taken = set(re.findall(r"^ARG (\w+)", dockerfile, re.MULTILINE))
    for service in ("service", "worker"):
        build = composed()["services"][service]["build"]
        assert build["args"].keys() <= taken
        assert f" AS {build['target']}\n" in dockerfile
    assert re.findall(r"^FROM (\S*[:$]\S*)", dockerfile, re.MULTILINE) == ["${PYTHON_IMAGE}"] * 2
    assert composed(ROOT / "docker-compose.gpu.yml")["services"]["worker"]["build"]["args"].keys() <= taken


OVERRIDES = (f"{name}.override.{ending}" for name in ("docker-compose", "compose") for ending in ("yml", "yaml"))


@pytest.mark.parametrize("file", (".env", *OVERRIDES, "errata-keys", "keys", "tls.key", "tls.pem"))
def test_what_belongs_to_one_installation_is_not_committed(file: str) -> None:
    assert subprocess.run(["git", "check-ignore", "--quiet", file], cwd=ROOT).returncode == 0
