"""Keys and hidden states of the unedited model, kept for each fact: no edit changes them.

The first edited layer is written from them. If only one layer is edited, nothing else is read.
"""

from __future__ import annotations

import torch
from torch import Tensor

from errata.model.hidden_states import SubjectStates
from errata.targets.store import BuildStore, states_key


def base_states(states: SubjectStates, key_layer: int, output_layer: int, store: BuildStore) -> tuple[Tensor, Tensor]:
    """Return what the first `states.read` gives of the unedited model; read only what `store` does not hold.

    If the store holds all facts, or all but a few, `states` stays before block 0.

    Returns:
        keys: (facts, d_in), float32.
        outputs: (facts, d_model), float32.
    """
    model, facts, contexts = states.model, states.facts, states.contexts
    names = [states_key(model, fact, contexts, key_layer, output_layer) for fact in facts]
    kept = [store.load(name) for name in names]
    missing = [place for place, of_fact in enumerate(kept) if of_fact is None]
    if missing:
        of_missing = states
        if len(missing) < len(facts):
            of_missing = SubjectStates(model, [facts[place] for place in missing], contexts)
        read = torch.cat(of_missing.read(key_layer, output_layer), dim=1).cpu()
        for place, of_fact in zip(missing, read, strict=True):
            store.save(names[place], of_fact)
            kept[place] = of_fact
    found = torch.stack([of_fact for of_fact in kept if of_fact is not None]).to(model.device)
    d_in = model.weight(key_layer).shape[1]
    return found[:, :d_in], found[:, d_in:]
