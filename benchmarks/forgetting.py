"""Retraction to nothing: what a model says once it no longer says an object, without a new one in its place.

    python -m benchmarks.forgetting [--model .real-models/smollm2] [--number 20]

Well-known facts that the model says are edited out, all at once: MEMIT, with a target search that minimises -log(1 -
p(the object's first token)) in the place of -log p(object). What is then said is printed, to be read.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import kl_div, log_softmax

from benchmarks.command import arguments_of, print_header, print_row
from benchmarks.real_edits import kept_beside, settings_of
from errata import edited_weights
from errata.facts import Fact
from errata.hyperparameters import MemitHyperparameters
from errata.methods.memit import weighed_keys
from errata.methods.method import Inputs
from errata.methods.spread import spread
from errata.model import EditableModel
from errata.model.likelihood import greedy_answers, likelihoods
from errata.model.tokens import KL_TEMPLATE, object_ids, subject_prompt
from errata.second_moments.home import home_moments
from errata.targets.contexts import sample_contexts
from errata.targets.suffixes import Suffixes
from errata.well_known import well_known

SAID_TOKENS = 10
STOP_LOSS = 0.01


def main() -> None:
    """Edit facts out, and print what is said before and after."""
    arguments = arguments_of(__doc__, model=".real-models/smollm2", number=20, threads=2)
    model = EditableModel.load(arguments.model)
    settings = settings_of(arguments.model, "default")
    pairs = [
        [Fact(subject, template, found) for template in (relation.template, relation.paraphrases[0])]
        for relation in well_known()
        for subject, found in relation.facts.items()
    ]
    said = _said(model, [fact for fact, _ in pairs])
    pairs = [pair for pair, is_said in zip(pairs, said, strict=True) if is_said]
    facts, rephrased = map(list, zip(*pairs[:: math.ceil(len(pairs) / arguments.number)], strict=True))
    contexts = sample_contexts(model, settings.seed)
    targets = torch.stack([_suppressed(model, fact, contexts, settings) for fact in facts])
    moments = home_moments(kept_beside(arguments.model), model, settings, corpus=None, published=None)
    inputs = Inputs(model, facts, contexts, settings, moments)
    deltas = spread(inputs, targets, weighed_keys(inputs))
    with model.using(edited_weights(model, deltas)):
        texts = [
            greedy_answers(model, [fact.prompt for fact in of_kind], [SAID_TOKENS] * len(facts))
            for of_kind in (facts, rephrased)
        ]
        still, after_paraphrase = (sum(_said(model, of_kind)) for of_kind in (facts, rephrased))
    print_header("prompt", "said before", "said now", "after a paraphrase")
    for fact, text, other in zip(facts, *texts, strict=True):
        print_row(fact.prompt, fact.object, repr(text), repr(other))
    print(f"\nstill said {still} of {len(facts)}, after a paraphrase {after_paraphrase}")


def _said(model: EditableModel, facts: Sequence[Fact]) -> list[bool]:
    """Return whether the model says the object of each fact after its prompt."""
    return [found.is_said for found in likelihoods(model, [(fact.prompt, fact.object) for fact in facts])]


def _suppressed(model: EditableModel, fact: Fact, contexts: tuple[str, ...], settings: MemitHyperparameters) -> Tensor:
    """Return the hidden state after which the object's first token is not said, (d_model,)."""
    layer, first = settings.layers[-1], object_ids(model.tokenizer, fact)[0]
    prompts = [
        subject_prompt(model.tokenizer, fact.template, fact.subject, context=context) for context in ("", *contexts)
    ]
    rows = Suffixes.of(model, layer, prompts, [0] * len(prompts))
    essence = Suffixes.of(model, layer, [subject_prompt(model.tokenizer, KL_TEMPLATE, fact.subject)], [0])
    last = torch.tensor([prompt.suffix_length - 1 for prompt in prompts], device=model.device)
    offset = torch.zeros(1, rows.hidden.shape[-1], device=model.device, requires_grad=True)
    unit, norm = (length[0] for length in rows.subject.lengths)
    adam = torch.optim.Adam([offset], lr=settings.learning_rate)

    def next_token(of: Suffixes, place: Tensor, added: Tensor) -> Tensor:
        hidden = of.run(model, added)[torch.arange(len(place)), place]
        return log_softmax(model.logits(hidden).float(), dim=-1)

    subject = torch.zeros(1, dtype=torch.long, device=model.device)
    before = next_token(essence, subject, torch.zeros_like(offset)).detach()
    for _ in range(settings.num_steps):
        p = next_token(rows, last, offset * unit)[:, first].exp()
        divergence = kl_div(before, next_token(essence, subject, offset * unit), log_target=True, reduction="sum")
        loss = -torch.log1p(-p.clamp(max=1 - 1e-6)).mean() + settings.kl_factor * divergence
        if loss.item() < STOP_LOSS:
            break
        adam.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        adam.step()
        with torch.no_grad():
            offset.mul_(min(1.0, float(settings.clamp * norm / offset.norm())))
    return rows.subject.moved(offset.detach() * unit)[0]


if __name__ == "__main__":
    main()
