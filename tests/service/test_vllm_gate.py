"""The gate and the matrices of `errata_vllm`, without vLLM: what happens where a change of version does not go well."""

import asyncio
import hashlib
import json
import sys
from argparse import Namespace
from collections.abc import MutableMapping
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

    def __init__(self) -> None:
        super().__init__(3, 2, bias=False)
        self.input_size = 3
        self.quant_method = UnquantizedLinearMethod()

    def weight_loader(self, shard: Tensor, matrix: Tensor) -> None:
        shard.data.copy_(matrix)


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


class Engine:
    """vLLM's client of an engine, as far as the gate knows it; it notes the versions that are put in place."""

    def __init__(self) -> None:
        self.put: list[int] = []

    async def collective_rpc(self, method: str, args: tuple[int, ...]) -> list[str]:
        self.put.append(args[0])
        return []

    async def pause_generation(self, mode: str, clear_cache: bool) -> None:
        pass

    async def resume_generation(self) -> None:
        pass


def test_a_request_that_does_not_end_holds_up_a_change_for_a_while_only(
    errata_vllm: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("errata_vllm.gate.DRAIN_S", 0.05)
    engine = Engine()
    state = Namespace(args=Namespace(), engine_client=engine)

    async def trying() -> None:
        stuck, ended = asyncio.Event(), asyncio.Event()

        async def app(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
            if scope["path"] == "/stuck":
                stuck.set()
                await ended.wait()
            await send({"type": "http.response.start", "status": 200})

        gate = errata_vllm.Gate(app)

        async def status(method: str, path: str) -> int:
            statuses: list[int] = []

            async def send(message: MutableMapping[str, Any]) -> None:
                statuses.append(message.get("status", 0))

            async def receive() -> dict[str, Any]:
                return {"body": b'{"version": 0}'}

            scope = {"type": "http", "method": method, "path": path, "headers": [], "app": Namespace(state=state)}
            await gate(scope, receive, send)
            return statuses[0]

        request = asyncio.create_task(status("POST", "/stuck"))
        await stuck.wait()
        assert await status("PUT", "/errata/version") == 503
        assert engine.put == []
        assert await status("POST", "/v1/completions") == 200  # the gate is open again
        ended.set()
        assert await request == 200
        assert await status("PUT", "/errata/version") == 200
        assert engine.put == [0]

    asyncio.run(asyncio.wait_for(trying(), 20))
