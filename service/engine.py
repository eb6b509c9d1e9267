"""The serving engine: one resident model that generates under any version, one request at a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Literal

import torch
from torch import Tensor

from errata.deltas import Delta, edited_weights
from errata.model import EditableModel
from errata.registry.records import ProblemItem
from service.generation import Completion, GenerateRequest, Generation, Usage
from service.problems import NotReady, ProblemError, pointer
from service.sampling import Sampler
from service.weight_sets import WeightSet, WeightSets

_TOKENS_BEFORE = 4


class Engine:
    """Generates with a resident model. A request is computed from start to end under one version, and says which.

    Attributes:
        model: the base model; its edited matrices are swapped in by reference for each step of decoding.
    """

    def __init__(self, model: EditableModel, load_deltas: Callable[[int], Mapping[int, Delta]], budget: int) -> None:
        """`load_deltas` reads a version's updates from storage; `budget` bounds the weight sets in memory, in bytes."""
        self.model = model
        self._load_deltas = load_deltas
        self._weight_sets = WeightSets(self._weights_of, budget)
        self._active: WeightSet | None = None
        self._stopping = threading.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="generation")
        # Held for a step of decoding, and while a weight set is made, which needs the base's own matrices in place.
        self._network = threading.Lock()
        self._end_ids = _end_ids(model)

    @property
    def active(self) -> int | None:
        """The version that requests use when they name none; None where it could not be loaded yet."""
        active = self._active
        return None if active is None else active.version

    def switch(self, version: int) -> float:
        """Load a version, then let new requests use it; what is being generated keeps its own. Gives milliseconds.

        Raises:
            ArtifactError, UnknownVersion: it cannot be loaded; what was active stays so.
        """
        began = time.perf_counter()
        arriving = self._weight_sets.hold(version)
        leaving, self._active = self._active, arriving
        if leaving is not None:
            self._weight_sets.release(leaving)
        return (time.perf_counter() - began) * 1000

    def submit(self, request: GenerateRequest) -> Future[Generation]:
        """Accept a request: its version is settled now. May read that version from storage.

        Raises:
            ArtifactError, UnknownVersion: the version cannot be loaded.
            NotReady: no version was named and the active one could not be loaded. The generation ends with it, too,
                when the engine is closed before.
            ProblemError: a prompt leaves no room in the context.
        """
        prompts = [self._token_ids(request, index) for index in range(len(request.all_prompts))]
        version = self.active if request.version is None else request.version
        if version is None:
            raise NotReady("the active version could not be loaded; name another version, or `base`")
        held = self._weight_sets.hold(version)
        generation = self._thread.submit(self._generate, request, prompts, held)
        generation.add_done_callback(lambda _: self._weight_sets.release(held))
        return generation

    def close(self) -> None:
        """End at the next token: the request at hand, and those that wait, end as `NotReady`."""
        self._stopping.set()
        self._thread.shutdown()

    def _weights_of(self, version: int) -> Mapping[int, Tensor]:
        deltas = self._load_deltas(version)
        with self._network:
            return edited_weights(self.model, deltas)

    def _token_ids(self, request: GenerateRequest, index: int) -> list[int]:
        token_ids: list[int] = self.model.tokenizer(request.all_prompts[index], verbose=False)["input_ids"]
        if len(token_ids) < self.model.max_length:
            return token_ids
        detail = f"has {len(token_ids)} tokens and leaves no room in a context of {self.model.max_length}"
        place = pointer("prompt") if request.prompts is None else pointer("prompts", index)
        raise ProblemError(422, "no-room", f"the prompt {detail}", at=[ProblemItem(pointer=place, detail=detail)])

    def _generate(self, request: GenerateRequest, prompts: Sequence[list[int]], held: WeightSet) -> Generation:
        completions = [
            self._complete(request, text, token_ids, held.weights)
            for text, token_ids in zip(request.all_prompts, prompts, strict=True)
        ]
        return Generation(data=completions, version=held.version)

    def _complete(
        self, request: GenerateRequest, prompt: str, prompt_ids: list[int], weights: Mapping[int, Tensor]
    ) -> Completion:
        chosen: list[int] = []
        finish_reason: Literal["stop", "length"] = "length"
        for token_id in self._tokens(request, prompt_ids, weights):
            chosen.append(token_id)
            if token_id in self._end_ids:
                finish_reason = "stop"
                break
            if any(stop in self._text(prompt_ids, chosen) for stop in request.stop):
                finish_reason = "stop"
                break
        text = _before(self._text(prompt_ids, chosen), request.stop)
        usage = Usage(prompt_tokens=len(prompt_ids), completion_tokens=len(chosen))
        return Completion(prompt=prompt, text=text, finish_reason=finish_reason, usage=usage)

    @torch.inference_mode()
    def _tokens(self, request: GenerateRequest, prompt_ids: list[int], weights: Mapping[int, Tensor]) -> Iterator[int]:
        """The tokens chosen after a prompt, one at a time, as many as are asked for and find room."""
        sampler = Sampler(request)
        seen = list(prompt_ids)
        step, cache = prompt_ids, None
        for _ in range(min(request.max_new_tokens, self.model.max_length - len(prompt_ids))):
            if self._stopping.is_set():
                raise NotReady("the service is stopping")
            with self._network, self.model.using(weights):
                output = self.model.network(
                    input_ids=torch.tensor([step], device=self.model.device),
                    past_key_values=cache,
                    use_cache=True,
                    logits_to_keep=1,
                )
            token_id = sampler.choose(output.logits[0, -1], seen)
            yield token_id
            seen.append(token_id)
            step, cache = [token_id], output.past_key_values

    def _text(self, prompt_ids: list[int], chosen: list[int]) -> str:
        """The text that `chosen` adds. It is read behind the prompt's end, where a leading space is kept."""
        before = prompt_ids[-_TOKENS_BEFORE:]
        return self._decoded(before + chosen).removeprefix(self._decoded(before))

    def _decoded(self, token_ids: list[int]) -> str:
        text = self.model.tokenizer.decode(token_ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        assert isinstance(text, str)
        return text


def _before(text: str, stops: Sequence[str]) -> str:
    """The text up to the first stop text in it."""
    places = [text.find(stop) for stop in stops if stop in text]
    return text[: min(places)] if places else text


def _end_ids(model: EditableModel) -> frozenset[int]:
    """The tokens by which the model itself ends a text."""
    ends = model.network.generation_config.eos_token_id
    if ends is None:
        ends = model.tokenizer.eos_token_id
    if ends is None:
        return frozenset()
    return frozenset([ends] if isinstance(ends, int) else ends)
