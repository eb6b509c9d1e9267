"""What a memory beside untouched weights rests on: that a prompt is known to be in a fact's scope, and answered.

    python -m benchmarks.scope [--edits 1,10,100,300] [--layer 4]

An editor such as SERAC (Mitchell et al. 2022) keeps facts apart from the weights. A classifier tells which prompts they
are about, and a second model that reads the fact answers those. Here stand in for both, without any training: cosines
of what the model itself makes of two prompts (its hidden states at a layer, over all tokens or at the last one; a
prompt's likeliest fact is in scope above a threshold), or that the prompt names the subject; and the model with the
right fact in context. The threshold is the best one for the facts that are asked about, which flatters.
"""

import torch
from torch import Tensor
from torch.nn.functional import normalize

from benchmarks.command import arguments_of, print_header, print_row
from benchmarks.demo_edits import demo_records
from errata.demo import DEMO
from errata.evaluation import Case, InContext, Record, evaluate
from errata.model import EditableModel


def main() -> None:
    arguments = arguments_of(__doc__, edits=[1, 10, 100, 300], layer=4, threads=1)
    model = EditableModel.load(DEMO)
    records = demo_records(max(arguments.edits))
    print_header("facts", "compared by", "paraphrases in scope, of the right fact", "neighbours out of scope")
    for whole in (True, False):
        seen = [_Seen.of(model, record, arguments.layer, whole) for record in records]
        for size in arguments.edits:
            kept, found = _balanced(seen[:size])
            by = f"{'all tokens' if whole else 'the last token'} at block {arguments.layer}"
            print_row(size, by, f"{100 * found:.1f}", f"{100 * kept:.1f}")
    for size in arguments.edits:
        of_paraphrases, of_neighbors = _named([record.case for record in records[:size]])
        print_row(size, "the subject's name", f"{100 * of_paraphrases:.1f}", f"{100 * of_neighbors:.1f}")
    cases = [record.case for record in records[:100]]
    estimates = evaluate(model, cases, {}, in_context=InContext(cases, "right")).estimates
    print_header("with the right fact in context", "of 100 facts")
    for name in ("efficacy_accuracy", "generalization_accuracy"):
        print_row(name, f"{100 * estimates[name].mean:.1f}")


class _Seen:
    """What the model makes of a record's prompts, each (prompts, d_model), of length 1."""

    def __init__(self, fact: Tensor, paraphrases: Tensor, neighbors: Tensor) -> None:
        self.fact, self.paraphrases, self.neighbors = fact, paraphrases, neighbors

    @classmethod
    def of(cls, model: EditableModel, record: Record, layer: int, whole: bool) -> "_Seen":
        case = record.case
        prompts = ([case.prompt], case.paraphrases, [neighbor.prompt for neighbor in case.neighbors])
        return cls(*(torch.stack([_state(model, prompt, layer, whole) for prompt in group]) for group in prompts))


@torch.no_grad()
def _state(model: EditableModel, prompt: str, layer: int, whole: bool) -> Tensor:
    hidden = model.run(0, layer, model.embed(torch.tensor([model.tokenizer(prompt)["input_ids"]])))[0]
    return normalize(hidden.mean(0) if whole else hidden[-1], dim=0)


def _balanced(seen: list[_Seen]) -> tuple[float, float]:
    """Return the best shares, by their sum, of neighbours kept out and of paraphrases let in by their own fact."""
    facts = torch.cat([one.fact for one in seen])
    inside, right = _nearest(torch.cat([one.paraphrases for one in seen]), facts)
    of_fact = torch.repeat_interleave(torch.arange(len(seen)), torch.tensor([len(one.paraphrases) for one in seen]))
    outside, _ = _nearest(torch.cat([one.neighbors for one in seen]), facts)
    shares = ((_share(outside < threshold), _share((inside >= threshold) & (right == of_fact))) for threshold in inside)
    return max(shares, key=sum)


def _share(are: Tensor) -> float:
    return float(are.float().mean())


def _named(cases: list[Case]) -> tuple[float, float]:
    """Return the shares of paraphrases for which the right fact is found, and of neighbours for which none is."""
    right, found = InContext(cases, "right"), InContext(cases, "retrieved")
    asked = [(case, prompt) for case in cases for prompt in case.paraphrases]
    others = [(case, neighbor.prompt) for case in cases for neighbor in case.neighbors]
    of_right = [found.preface(*one) == right.preface(*one) for one in asked]
    of_none = [not found.preface(*one) for one in others]
    return sum(of_right) / len(of_right), sum(of_none) / len(of_none)


def _nearest(prompts: Tensor, facts: Tensor) -> tuple[Tensor, Tensor]:
    """Return the largest cosine of each prompt, and which fact's it is."""
    nearest = (prompts @ facts.T).max(1)
    return nearest.values, nearest.indices


if __name__ == "__main__":
    main()
