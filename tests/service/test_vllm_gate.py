"""The gate and the matrices of `errata_vllm`, without vLLM: what happens where a change of version does not go well."""

import asyncio
import hashlib
import json
import sys
from argparse import Namespace
from collections.abc import Coroutine, MutableMapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import save
from torch import Tensor
from torch.nn import Linear, ModuleList

ENGINE = Path(__file__).parents[2] / "engines" / "vllm"


@pytest.fixture(autouse=True)
def errata_vllm(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The package, with as little of vLLM as it names when it is imported."""
    vllm: Any = ModuleType("vllm")
    vllm.__version__, vllm.envs = "0", Namespace(VLLM_API_KEY=None)
    monkeypatch.setitem(sys.modules, "vllm", vllm)
    monkeypatch.syspath_prepend(str(ENGINE))
    import errata_vllm

    yield errata_vllm
    for name in [name for name in sys.modules if name.partition(".")[0] == "errata_vllm"]:
        del sys.modules[name]


class UnquantizedLinearMethod:
    """Named as vLLM's."""


class Down(Linear):
    """A matrix with what vLLM's layers have beside it."""

    def __init__(self, of_shard: Sequence[int] = (0, 1, 2)) -> None:
        super().__init__(len(of_shard), 2, bias=False)
        self.input_size, self.input_size_per_partition = 3, len(of_shard)
        self.quant_method = UnquantizedLinearMethod()
        self._of_shard = list(of_shard)

    def weight_loader(self, shard: Tensor, matrix: Tensor) -> None:
        shard.data.copy_(matrix[:, self._of_shard])


def test_a_put_that_fails_halfway_leaves_nothing_behind_once_the_base_is_put_back(
    errata_vllm: Any, tmp_path: Path
) -> None:
    downs = [Down(), Down()]
    layers = ModuleList(downs)
    weights = [down.weight for down in downs]
    bases = [weight.detach().clone() for weight in weights]
    worker = errata_vllm.EditedMatrices()
    worker.vllm_config, worker.model_runner = None, Namespace(get_model=lambda: layers)
    update = tmp_path / "update.safetensors"
    update.write_bytes(save({f"{layer}.dense": torch.ones(2, 3) for layer in (0, 1)}))
    digest = hashlib.sha256(update.read_bytes()).hexdigest()
    worker.errata_prepare(1, str(update), digest, json.dumps({"0": "0", "1": "1"}), False)

    there, weights[1].data = weights[1].data, torch.zeros(5, 5)  # the second put will fail
    with pytest.raises(RuntimeError):
        worker.errata_put_in_place(1)
    weights[1].data = there
    assert not torch.equal(weights[0], bases[0])

    worker.errata_put_in_place(0)
    assert all(torch.equal(weight, base) for weight, base in zip(weights, bases, strict=True))


def test_a_worker_tells_what_its_shard_of_the_base_has_at_the_places_that_it_is_asked_for(errata_vllm: Any) -> None:
    down = Down(of_shard=[1, 2])
    down.weight.data = torch.tensor([[2.0, 3.0], [5.0, 6.0]]).bfloat16()
    worker = errata_vllm.EditedMatrices()
    worker.vllm_config, worker.model_runner = None, Namespace(get_model=lambda: ModuleList([down]))
    asked = [[0, 0, 0], [0, 0, 1], [0, 1, 2], [0, 2, 2], [7, 0, 1]]
    answer = worker.errata_values(json.dumps(asked), json.dumps({"0": "0", "7": "7"}), False)
    assert json.loads(answer) == [[0, 0, 1, 2.0], [0, 1, 2, 6.0]]


class Engine:
    """vLLM's client of an engine, as far as the gate knows it; it notes the versions that are put in place."""

    def __init__(self) -> None:
        self.put: list[int] = []
        self.is_paused = False
        self.values = [[0, 0, 0, 1.0], [0, 1, 2, 2.0]]  # of its model, each in another worker
        self.resets = True  # whether the caches of keys and values can be emptied
        self.vllm_config = Namespace(kv_transfer_config=None)

    async def collective_rpc(self, method: str, args: tuple[Any, ...]) -> list[str]:
        if method == "errata_values":
            return [json.dumps([value]) for value in self.values]
        assert self.is_paused
        self.put.append(args[0])
        return []

    async def pause_generation(self, *, mode: str, clear_cache: bool) -> None:
        self.is_paused = True  # first, as vLLM does
        if clear_cache and not self.resets:
            raise RuntimeError("Failed to reset the KV connector cache.")

    async def resume_generation(self) -> None:
        self.is_paused = False


class OlderEngine(Engine):
    """As in releases that pause otherwise."""

    async def pause_generation(self, *, wait_for_inflight_requests: bool, clear_cache: bool) -> None:  # type: ignore[override]
        raise AssertionError("it is not asked")


class Asked:
    """A gate before an app that answers 200, or at `/stuck` waits for `ended`."""

    def __init__(self, errata_vllm: Any, engine: Engine) -> None:
        self.stuck, self.ended = asyncio.Event(), asyncio.Event()
        self._app = Namespace(state=Namespace(args=Namespace(), engine_client=engine))
        self._gate = errata_vllm.Gate(self._answer)

    async def _answer(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        if scope["path"] == "/stuck":
            self.stuck.set()
            await self.ended.wait()
        await send({"type": "http.response.start", "status": 200})

    async def __call__(self, method: str, path: str, body: bytes = b'{"version": 0}') -> tuple[int, str]:
        """Return the status and the body of an answer."""
        sent: list[MutableMapping[str, Any]] = []

        async def send(message: MutableMapping[str, Any]) -> None:
            sent.append(message)

        async def receive() -> dict[str, Any]:
            return {"body": body}

        scope = {"type": "http", "method": method, "path": path, "headers": [], "app": self._app}
        await self._gate(scope, receive, send)
        return sent[0]["status"], b"".join(message.get("body", b"") for message in sent).decode()


def within_20_s(trying: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(trying, 20))


def test_a_request_that_does_not_end_holds_up_a_change_for_a_while_only(
    errata_vllm: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("errata_vllm.gate.DRAIN_S", 0.05)

    async def trying() -> None:
        engine = Engine()
        ask = Asked(errata_vllm, engine)
        request = asyncio.create_task(ask("POST", "/stuck"))
        await ask.stuck.wait()
        assert (await ask("PUT", "/errata/version"))[0] == 503
        assert engine.put == []
        assert (await ask("POST", "/v1/completions"))[0] == 200  # the gate is open again
        ask.ended.set()
        assert (await request)[0] == 200
        assert (await ask("PUT", "/errata/version"))[0] == 200
        assert engine.put == [0]

    within_20_s(trying())


def test_a_pause_that_fails_is_ended_and_the_version_before_serves(errata_vllm: Any) -> None:
    async def trying() -> None:
        engine = Engine()
        ask = Asked(errata_vllm, engine)
        engine.resets = False
        status, body = await ask("PUT", "/errata/version")
        assert status == 500 and "KV connector" in body
        assert engine.put == [] and not engine.is_paused
        assert (await ask("POST", "/v1/completions"))[0] == 200
        engine.resets = True
        assert (await ask("PUT", "/errata/version"))[0] == 200

    within_20_s(trying())


@pytest.mark.parametrize(
    "expected",
    [
        pytest.param([[0, 0, 0, 1.0], [0, 1, 2, 2.02]], id="fine-tuned"),
        pytest.param([[0, 0, 0, 1.0], [0, 1, 2, 2.0], [0, 2, 4, 0.0]], id="larger"),
        pytest.param([[0, 0, 0, float("nan")]], id="nan"),
    ],
)
def test_a_server_of_another_model_takes_no_version_and_of_the_same_says_so(
    errata_vllm: Any, expected: list[list[float]]
) -> None:
    def wanted(values: list[list[float]]) -> bytes:
        base = {"digest": "abc", "values": values, "modules": {"0": "0"}, "transposed": False}
        return json.dumps({"version": 0, "base": base}).encode()

    async def trying() -> None:
        engine = Engine()
        ask = Asked(errata_vllm, engine)
        status, body = await ask("PUT", "/errata/version", wanted(expected))
        assert status == 409 and "another model" in body and engine.put == []
        assert json.loads((await ask("GET", "/errata/version"))[1])["base"] is None
        assert (await ask("PUT", "/errata/version", wanted([[0, 0, 0, 1.001], [0, 1, 2, 2.003]])))[0] == 200
        assert json.loads((await ask("GET", "/errata/version"))[1])["base"] == "abc"

    within_20_s(trying())


def connected(connector: str, **extra: str) -> Engine:
    """An engine with a cache outside the GPU."""
    engine = Engine()
    engine.vllm_config.kv_transfer_config = Namespace(
        kv_connector=connector, kv_connector_module_path=None, kv_connector_extra_config=extra
    )
    return engine


@pytest.mark.parametrize(
    ("engine", "obstacle"),
    [
        (OlderEngine(), "vLLM 0 has no mode of pause_generation"),
        (connected("LMCacheConnectorV1"), "keys and values in LMCacheConnectorV1"),
        (connected("OffloadingConnector", spec_name="TieringOffloadingSpec"), "keys and values in OffloadingConnector"),
    ],
)
def test_a_server_that_cannot_change_its_version_says_so_before_it_is_asked_to(
    errata_vllm: Any, engine: Engine, obstacle: str
) -> None:
    async def trying() -> None:
        ask = Asked(errata_vllm, engine)
        for method in ("GET", "PUT"):
            status, body = await ask(method, "/errata/version")
            assert status == 409 and obstacle in body
        assert engine.put == []

    within_20_s(trying())


def test_a_cache_in_main_memory_that_a_pause_empties_is_no_obstacle(errata_vllm: Any) -> None:
    async def trying() -> None:
        ask = Asked(errata_vllm, connected("OffloadingConnector"))
        assert (await ask("PUT", "/errata/version"))[0] == 200

    within_20_s(trying())
