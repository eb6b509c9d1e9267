"""The HTTP interface of a vLLM server, as far as it takes versions."""

import re
from dataclasses import dataclass
from typing import Any

import httpx

from errata.errors import NotServable

PATIENCE_S = 10.0
LOADING_S = 600.0
# Of vLLM's figures: the adapters that requests are computed with, and those that requests wait for.
ADAPTERS_IN_USE = re.compile(r"^vllm:lora_requests_info\{[^}]*\} ", re.MULTILINE)
NAMES = re.compile(r'(?:running|waiting)_lora_adapters="([^"]*)"')


class Unreachable(Exception):
    """The server does not answer, or not as a vLLM does that serves this home's base model."""


@dataclass(frozen=True, slots=True)
class Models:
    """What a server calls its model, the name or folder that it was given that by, and the names of its adapters."""

    base: str
    root: str
    adapters: frozenset[str]


@dataclass(frozen=True, slots=True)
class InPlace:
    """The version in the server's weights, and the checksum of its update; None for the base.

    `base` is the digest of the base model that the server was found to serve; None until it was looked at.
    """

    version: int
    sha256: str | None
    base: str | None


class VllmServer:
    """A server by its URL. Any method may raise `Unreachable`."""

    def __init__(self, url: str, api_key: str | None) -> None:
        """`api_key` is the server's own."""
        self.url = url.rstrip("/")
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._http = httpx.Client(base_url=self.url, headers=headers, timeout=PATIENCE_S, trust_env=False)

    def models(self) -> Models:
        """Return what the server has."""
        cards = self._asked("GET", "/v1/models")["data"]
        base = next(card for card in cards if card.get("parent") is None)
        adapters = frozenset(str(card["id"]) for card in cards if card.get("parent") is not None)
        return Models(str(base["id"]), str(base.get("root")), adapters)

    # Adapters

    @property
    def takes_adapters(self) -> bool:
        """True if adapters can be loaded while it runs."""
        return self._send("POST", "/v1/load_lora_adapter", {}).status_code != httpx.codes.NOT_FOUND

    def load_adapter(self, name: str, path: str) -> None:
        """Load an adapter from a folder that the server sees. Raises `NotServable` where it is not taken."""
        answer = self._send("POST", "/v1/load_lora_adapter", {"lora_name": name, "lora_path": path}, LOADING_S)
        if answer.is_error:
            raise NotServable(f"{self.url} does not take the adapter {name}: {_said(answer)}")

    def unload_adapter(self, name: str) -> None:
        """Forget an adapter; requests that use it go on."""
        self._send("POST", "/v1/unload_lora_adapter", {"lora_name": name})

    def adapters_in_use(self) -> frozenset[str]:
        """Return the names of the adapters that requests are computed with or wait for."""
        figures = self._send("GET", "/metrics").text
        lines = [line for line in figures.splitlines() if ADAPTERS_IN_USE.match(line)]
        if not lines:
            return frozenset()
        # There is a line for each set that ever was; its value is when it was so last.
        latest = max(lines, key=lambda line: float(line.rsplit(" ", 1)[1]))
        return frozenset(name for names in NAMES.findall(latest) for name in names.split(",") if name)

    # Weights

    def in_place(self) -> InPlace | None:
        """Return the version in the server's weights; None where it has no `errata_vllm.Gate`.

        Raises `Unreachable` also where it lets no version in.
        """
        answer = self._send("GET", "/errata/version")
        if answer.status_code == httpx.codes.NOT_FOUND:
            return None
        self._require_takes_versions(answer)
        told = _content(answer)
        if "base" not in told:
            raise Unreachable(f"{self.url} has an errata_vllm of an earlier release: install this one's and restart it")
        return InPlace(told["version"], told["sha256"], told["base"])

    def put_in_place(self, wanted: dict[str, Any]) -> dict[str, float]:
        """Put a version into the server's weights; return how long that took.

        Raises `NotServable`, and `Unreachable` where the server takes no version at all.
        """
        answer = self._send("PUT", "/errata/version", wanted, LOADING_S)
        self._require_takes_versions(answer)
        if answer.is_error:
            raise NotServable(f"{self.url} does not take version {wanted['version']}: {_said(answer)}")
        told = _content(answer)
        return {name: float(told[name]) for name in ("load_ms", "drain_ms", "swap_ms")}

    def _require_takes_versions(self, answer: httpx.Response) -> None:
        """Raise `Unreachable` with the gate's words where this vLLM, how it was started, or its model lets none in."""
        if answer.status_code == httpx.codes.CONFLICT:
            raise Unreachable(f"{self.url} takes no versions: {_said(answer)}")

    def _asked(self, method: str, path: str) -> dict[str, Any]:
        return _content(self._send(method, path))

    def _send(self, method: str, path: str, body: Any = None, timeout_s: float = PATIENCE_S) -> httpx.Response:
        try:
            answer = self._http.request(method, path, json=body, timeout=timeout_s)
        except httpx.TransportError as error:
            raise Unreachable(f"{self.url} does not answer: {error or type(error).__name__}") from error
        if answer.status_code == httpx.codes.UNAUTHORIZED:
            raise Unreachable(f"{self.url} asks for its API key: set ERRATA_FOLLOW_KEY")
        return answer


def _content(answer: httpx.Response) -> dict[str, Any]:
    try:
        content = answer.raise_for_status().json()
    except (httpx.HTTPError, ValueError) as error:
        raise Unreachable(f"{answer.url} answers {answer.status_code}, and not as vLLM does") from error
    if not isinstance(content, dict):
        raise Unreachable(f"{answer.url} does not answer as vLLM does")
    return content


def _said(answer: httpx.Response) -> str:
    """Return what an error says, in one line."""
    try:
        told = answer.json()["error"]
        message = told["message"] if isinstance(told, dict) else told
    except (ValueError, KeyError, TypeError):
        message = answer.text
    return " ".join(str(message).split())[:500] or f"status {answer.status_code}"
