"""How well each layer's keys tell subjects apart: which layers to edit a model at, before anything is edited.

    python -m benchmarks.key_separation --records FILE [--model .real-models/gemma3] [--records-read 40]

An update of one fact with the key k moves what a layer gives for any other key by k' C^-1 k / k C^-1 k of what it moves
it for the fact itself. FILE holds records of CounterFact in EasyEdit's request form. A row for each layer has this
share, on average over records:

- *paraphrase*: at the subject's last token in the record's paraphrase, where it should be 1;
- *neighbour*: at the token of the neighbour's prompt where its absolute value is largest, where it should be 0;
- their quotient. Layers of which it is large can be edited hard before neighbours pay.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.command import arguments_of, print_header, print_row
from benchmarks.real_edits import kept_beside
from errata.facts import PLACEHOLDER, places_of
from errata.hyperparameters import MemitHyperparameters
from errata.model import EditableModel
from errata.model.tokens import subject_prompt
from errata.second_moments.home import home_moments


def main() -> None:
    """Print the table."""
    arguments = arguments_of(__doc__, records="", model=".real-models/gemma3", records_read=40, threads=2)
    model = EditableModel.load(arguments.model)
    records = json.loads(Path(arguments.records).read_text())[: arguments.records_read]
    layers = range(model.num_layers - 1)
    wanted = MemitHyperparameters(layers=tuple(layers), moment_weight=1)
    moments = home_moments(kept_beside(arguments.model), model, wanted, corpus=None, published=None)
    factors = {layer: moments.required_factor(layer) for layer in layers}
    shares = torch.tensor([list(_shares(model, record, factors)) for record in records if _is_usable(record)])
    print(f"{len(shares)} records\n")
    print_header("layer", "paraphrase", "neighbour", "quotient")
    for layer, (paraphrase, neighbor) in zip(layers, shares.mean(0).tolist(), strict=True):
        print_row(layer, f"{paraphrase:.2f}", f"{neighbor:.2f}", f"{paraphrase / neighbor:.1f}")


def _is_usable(record: dict[str, Any]) -> bool:
    return all(len(places_of(record["subject"], record[text])) == 1 for text in ("prompt", "rephrase_prompt"))


@torch.no_grad()
def _shares(
    model: EditableModel, record: dict[str, Any], factors: Mapping[int, Tensor]
) -> Iterator[tuple[float, float]]:
    """Yield for each layer the shares of the paraphrase and of the neighbour, from the Cholesky factors of C."""
    subject = record["subject"]

    def of_subject(text: str) -> tuple[dict[int, Tensor], int]:
        [(begin, end)] = places_of(subject, text)
        prompt = subject_prompt(model.tokenizer, text[:begin] + PLACEHOLDER + text[end:], subject)
        return _keys(model, list(prompt.token_ids)), prompt.subject_last

    (own, own_last), (paraphrased, last) = of_subject(record["prompt"]), of_subject(record["rephrase_prompt"])
    others = _keys(model, list(model.tokenizer(record["locality_prompt"])["input_ids"]))
    for layer, factor in factors.items():
        key = own[layer][own_last].double()
        adjusted = torch.cholesky_solve(key[:, None], factor.double())[:, 0]
        adjusted /= key @ adjusted
        at_paraphrase = float(paraphrased[layer][last].double() @ adjusted)
        # All prompts of a model begin with the same token where it has one for that, whose key is no subject's.
        at_neighbor = float((others[layer][1:].double() @ adjusted).abs().max())
        yield at_paraphrase, at_neighbor


def _keys(model: EditableModel, token_ids: list[int]) -> dict[int, Tensor]:
    """Return what enters each layer's down-projection, (S, d_in)."""
    keys: dict[int, Tensor] = {}
    hooks = [
        model.down_projection(layer).register_forward_pre_hook(
            lambda _, inputs, layer=layer: keys.__setitem__(layer, inputs[0][0].float())
        )
        for layer in range(model.num_layers - 1)
    ]
    try:
        ids = torch.tensor([token_ids], device=model.device)
        model.run(0, model.num_layers - 1, model.embed(ids))
    finally:
        for hook in hooks:
            hook.remove()
    return keys


if __name__ == "__main__":
    main()
