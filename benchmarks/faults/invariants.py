"""What must hold whenever a stack has recovered, whatever happened to it. docs/faults.md tells of the letters."""

import json
import shutil
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

import torch
from errata_client.records import BASE_VERSION, Edit
from errata_registry.registry import Registry
from errata_registry.verification import verify
from errata_registry.versions.folder import DELTA
from errata_registry.versions.manifest import Manifest

from benchmarks.faults.edits import ANYHOW, SentEdit
from benchmarks.faults.load import Generated
from benchmarks.faults.stack import Stack, tries
from errata import deltas
from errata.demo import DEMO
from errata.errors import CorruptArtifact
from errata.facts import Fact
from errata.model import EditableModel

BASE_PROMPTS = ("Michael Jordan plays the sport of", "Sony has its headquarters in", "The capital of France is")
CANARY = (
    Fact("Michael Jordan", "plays the sport of", "baseball"),
    Fact("Sony", "has its headquarters in", "Paris"),
    Fact("Lionel Messi", "plays the sport of", "tennis"),
)
NUM_LISTED = 50
MOST_WRONG_TEXTS = 3
LEFTOVERS_PATIENCE_S = 30.0  # longer than a lease that was left, and the look of the recovery that finds it
OF_JOBS = ("rq:job", "rq:execution", "rq:wip", "errata:job:")


class Invariants:
    """The invariants of one stack, to which no fault has happened yet: what it says now is compared with later."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self._model = EditableModel.load(DEMO)
        self._alone = cache(self._generated_alone)
        self._right: set[int] = set()  # versions whose facts were found right, which never change
        self._base_logprobs = self._logprobs_of_base(stack.services[0], "errata@base")
        self._canary = canary(stack)
        assert self._base_logprobs.startswith("[") and len(self._canary) == 12, (self._base_logprobs, self._canary)

    def violated(self, sent: Sequence[SentEdit], generated: Sequence[Generated]) -> Iterator[str]:
        """Yield a line for each thing that is wrong. Given are the edits and generations since the last look."""
        self.stack.registry.commits.catch_up()
        self._kept = _Kept(self.stack.registry)
        yield from self._edits_end_once()
        yield from self._services_tell_how_edits_ended(sent)
        yield from self._versions_hold_what_edits_say()
        yield from self._activations_follow_one_another()
        yield from self._services_show_what_is_kept()
        yield from self._texts_are_those_alone(generated)
        yield from (f"e errata verify: {fault[:200]}" for fault in self._faults())
        yield from self._base_is_untouched("errata@base")

    def _faults(self) -> Sequence[str]:
        return verify(self.stack.home, self.stack.registry.commits).faults

    def _edits_end_once(self) -> Iterator[str]:
        kept = self._kept
        for edit in self.stack.sent:
            ids, accepted = kept.ids[edit.note], set(edit.ids)
            if len(accepted) > 1 and edit.key:
                yield f"a {edit.note}: one Idempotency-Key was accepted as {accepted}"
            if len(ids) > 1 and (edit.key or edit.times == 1):
                yield f"a {edit.note}: sent {'with a key' if edit.key else 'once'}, and there are {ids}"
            if not accepted <= set(ids):
                yield f"a {edit.note}: accepted as {accepted}, and there are {ids}"
            if ids and not accepted and not edit.unanswered:
                yield f"a {edit.note}: answered with {edit.errors}, and there is {ids}"
        for edit_id, outcome in kept.outcomes.items():
            versions = kept.versions_of[edit_id]
            if outcome is None:
                yield f"a {edit_id} has no outcome"
                continue
            if len(versions) > 1:
                yield f"a {edit_id} made versions {versions}"
            if outcome.status == "succeeded" and versions != [outcome.version]:
                yield f"a {edit_id} succeeded with version {outcome.version}, and there are {versions}"
            if outcome.status in ("failed", "cancelled") and versions:
                yield f"a {edit_id} is {outcome.status} and made {versions}"

    def _services_tell_how_edits_ended(self, sent: Sequence[SentEdit]) -> Iterator[str]:
        for edit_id in {edit_id for edit in sent for edit_id in edit.ids}:
            for service in self.stack.services:
                told, outcome = self.stack.api.ask(service, f"GET /edits/{edit_id}"), self._kept.outcomes.get(edit_id)
                if outcome and (not told.ok or told["status"] != outcome.status):
                    yield f"a {service} says {told} of {edit_id}, which ended {outcome.status}"

    def _versions_hold_what_edits_say(self) -> Iterator[str]:
        sent = {edit.note: edit for edit in self.stack.sent}
        for number, manifest in self._kept.manifests.items():
            if number in self._right:
                continue
            if (edit := sent.get(self._kept.notes.get(manifest.edit or "", ""))) is None:
                yield f"b version {number} is of {manifest.edit}, which nobody sent"
                continue
            try:
                held, expected = (
                    {fact.id: fact.object for fact in self.stack.registry.versions.facts(version)}
                    for version in (number, manifest.parent)
                )
            except CorruptArtifact as error:
                yield f"b {error}"
                continue
            expected |= {fact.id: fact.object for fact in edit.facts}
            for fact_id in edit.retract:
                expected.pop(fact_id, None)
            if held == expected:
                self._right.add(number)
            else:
                wrong = sorted(set(held.items()) ^ set(expected.items()))
                yield f"b version {number} ({edit.note}) holds {len(held)} of {len(expected)} facts: {wrong[:4]}"

    def _activations_follow_one_another(self) -> Iterator[str]:
        before = BASE_VERSION
        for entry in self.stack.registry.activations.journal.entries():
            if entry.previous != before:
                yield f"c the journal goes from {before} to {entry}"
            before = entry.active
            if entry.by.startswith("edit_"):
                manifest = self._kept.manifests.get(entry.active)
                if manifest is None or manifest.edit != entry.by:
                    yield f"c {entry.by} activated version {entry.active}, which it did not make"
                elif manifest.parent != entry.previous:
                    yield f"c version {entry.active}, made of {manifest.parent}, went live over {entry.previous}"

    def _services_show_what_is_kept(self) -> Iterator[str]:
        active, newest = self.stack.active(), sorted([BASE_VERSION, *self._kept.manifests])[-NUM_LISTED:]
        for service in self.stack.services:
            said = self.stack.api.ask(service, "POST /generate", {"prompt": "Sony has", "max_new_tokens": 1})
            if not said.ok or said["version"] != active:
                yield f"c {service} generates under {said.data.get('version', said)}, and {active} is active"
            listed = self.stack.api.ask(service, f"GET /versions?limit={NUM_LISTED}")
            shown = {version["id"]: version["status"] for version in listed.data.get("data", ())}
            if sorted(shown) != newest:
                yield f"c {service} lists {sorted(shown)}, and there are {newest}"
            if {number for number, status in shown.items() if status == "active"} != {active} & set(newest):
                yield f"c {service} lists another active version than {active}"

    def _texts_are_those_alone(self, generated: Sequence[Generated]) -> Iterator[str]:
        wrong = []
        for one in generated:
            if not (parts := one.parts()):
                continue
            versions, text = {version for version, _ in parts}, "".join(text for _, text in parts)
            version = min(versions)
            if len(versions) > 1 or one.asked not in (None, version):
                yield f"d version {one.asked} was asked for, and a text came of {versions}"
            elif version not in (BASE_VERSION, *self._kept.manifests):
                yield f"d a text came of version {version}, which is not there"
            else:
                alone = self._alone(version, one.prompt, one.tokens)
                if alone != text if one.is_whole else not alone.startswith(text.rstrip("\ufffd")):
                    wrong.append(f"d {one.answer.service} under {version}, {one.prompt!r}: {text!r}, alone {alone!r}")
        yield from wrong[:MOST_WRONG_TEXTS]

    def _generated_alone(self, version: int, prompt: str, tokens: int) -> str:
        """Return what transformers generates greedily from the base and the update on disk."""
        model, artifacts = self._model, self.stack.registry.artifacts
        path = artifacts.fetched(artifacts.folder(version)).path / DELTA if version else None
        edited = deltas.edited_weights(model, deltas.read(path)) if path else {}
        ids = model.tokenizer(prompt, return_tensors="pt")["input_ids"]
        with model.using(edited), torch.no_grad():
            network, end = model.network, model.tokenizer.eos_token_id
            said = network.generate(ids, max_new_tokens=tokens, do_sample=False, pad_token_id=end)
        return str(model.tokenizer.decode(said[0, ids.shape[1] :], skip_special_tokens=True))

    def _base_is_untouched(self, name: str) -> Iterator[str]:
        for service in self.stack.services:
            if (logprobs := self._logprobs_of_base(service, name)) != self._base_logprobs:
                yield f"f {name} at {service} is not bit for bit the base model: {logprobs[:120]}"

    def _logprobs_of_base(self, service: str, name: str) -> str:
        asked = {"model": name, "prompt": BASE_PROMPTS, "max_tokens": 6, "temperature": 0, "logprobs": 5, "echo": True}
        answer = self.stack.api.ask(service, "POST /v1/completions", asked)
        return json.dumps(answer["choices"]) if answer.ok else str(answer)

    # What is done to the stack to see more

    def keys_give_their_edits(self, sent: Sequence[SentEdit]) -> Iterator[str]:
        """Send every edit that has a key again: it must be the same edit."""
        for number, edit in enumerate(edit for edit in sent if edit.key and edit.ids):
            answer = edit.send(self.stack.api, self.stack.services[number % len(self.stack.services)])
            if not answer.ok or answer["id"] != edit.ids[0]:
                yield f"a {edit.note}: its key, sent again, gives {answer} instead of {edit.ids[0]}"

    def rollback_gives_the_base(self) -> Iterator[str]:
        """Roll back to version 0, which must be the base model bit for bit."""
        answer = self.stack.api.ask(self.stack.services[0], "POST /rollback", {"to": BASE_VERSION})
        if answer.ok:
            yield from self._base_is_untouched("errata")
        else:
            yield f"f the rollback to the base: {answer}"

    def canary_is_the_same(self) -> Iterator[str]:
        """Edit the same few facts as ever: the weights must be the same, or else what a worker holds is damaged."""
        if (found := canary(self.stack)) != self._canary:
            yield f"f the canary's weights are {found}, and were {self._canary}"

    def nothing_is_left(self) -> Iterator[str]:
        """Look for what jobs that have ended leave in Redis for ever."""
        redis = self.stack.redis
        for _ in tries(LEFTOVERS_PATIENCE_S):
            names = [name for name in redis.scan_iter() if name.startswith(OF_JOBS) and redis.ttl(name) == -1]
            if not names:
                return
        yield f"g {len(names)} keys of jobs that have ended stay in Redis: {names[:4]}"


def canary(stack: Stack) -> str:
    """Edit the same few facts as ever; return the digest of the weights, or what came in their place."""
    homes = [stack.home, *stack.root.glob("home-of-worker*")]
    caches = [home / "targets" for home in homes]  # they would hide what the worker computes
    for targets in filter(Path.exists, caches):
        targets.rename(targets.with_name("targets-aside"))
    edit = stack.new_edit(CANARY, **ANYHOW, base=BASE_VERSION, activate=False)
    answer = edit.send(stack.api, stack.services[0])
    ended = stack.outcome(answer["id"], 2 * stack.limit_s) if answer.ok else answer
    for targets in caches:
        if (aside := targets.with_name("targets-aside")).exists():
            shutil.rmtree(targets, ignore_errors=True)
            aside.rename(targets)
    if not ended.ok or ended["status"] != "succeeded":
        return f"{ended} {ended['error']}"
    stack.registry.commits.catch_up()
    return stack.registry.artifacts.folder(ended["version"]).manifest.files[DELTA].sha256[:12]


class _Kept:
    """The edits and versions that a home folder holds, read once. What cannot be read is told of by `errata verify`.

    Attributes:
        ids: of the edits with a note; `notes` has the note of each edit.
        outcomes: of each edit that was accepted.
        versions_of: the versions that an edit made.
    """

    def __init__(self, registry: Registry) -> None:
        self.ids: defaultdict[str, list[str]] = defaultdict(list)
        self.notes: dict[str, str] = {}
        self.outcomes: dict[str, Edit | None] = {}
        self.manifests: dict[int, Manifest] = {}
        self.versions_of: defaultdict[str, list[int]] = defaultdict(list)
        edits, artifacts = registry.edits.folder, registry.artifacts
        for edit_id in filter(edits.is_accepted, edits.ids()):
            with suppress(CorruptArtifact):
                self.notes[edit_id] = str(edits.accepted(edit_id).shown.get("note"))
                self.ids[self.notes[edit_id]].append(edit_id)
                self.outcomes[edit_id] = edits.outcome(edit_id)
        for number in artifacts.all_numbers():
            with suppress(CorruptArtifact):
                manifest = self.manifests[number] = artifacts.folder(number).manifest
                self.versions_of[manifest.edit or ""].append(number)
