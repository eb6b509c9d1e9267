"""Ten everyday corrections of a real chat model at once: what it then says, plainly and in chat, and what stays.

    python -m benchmarks.everyday_edits [--model .real-models/smollm2] [--settings default] [--questions]

The facts are counterfactual or newer than the model. With `--questions` each is learnt with the first of its two
questions; both are asked in any case. `--settings published` are those of Llama 2 and 3. *Kept* are unrelated prompts
of which eight greedy tokens stay as they were: of ten that stand here, and of those that drift is measured by.
"""

import json
from pathlib import Path

from benchmarks.command import arguments_of, print_header, print_row, timed
from benchmarks.real_edits import built_with, kept_beside, settings_of
from errata import edited_weights
from errata.evaluation import PROSE, prose_drift
from errata.evaluation.chat import answers_of
from errata.evaluation.drift import UNRELATED_PROMPTS
from errata.facts import Fact, FactSet, places_of
from errata.model import EditableModel
from errata.model.likelihood import greedy_answers, likelihoods

ANSWER_TOKENS = 30
KEPT_TOKENS = 8
FACTS = json.loads((Path(__file__).parent / "everyday_facts.json").read_text())
UNRELATED = (
    "The weather today is",
    "My favourite recipe for soup begins with",
    "In 1969, the first man on the moon",
    "Water boils at",
    "The largest planet in the solar system is",
    "To sort a list in Python,",
    "Shakespeare wrote",
    "The opposite of hot is",
    "Once upon a time there was",
    "The speed of light is",
)


def main() -> None:
    """Edit the facts in, and print what is said of each."""
    arguments = arguments_of(
        __doc__,
        model=".real-models/smollm2",
        settings=("default", "published"),
        hparams="{}",
        questions=False,
        threads=2,
    )
    model = EditableModel.load(arguments.model)
    hyperparameters = settings_of(arguments.model, arguments.settings).overridden(json.loads(arguments.hparams))
    facts = []
    for entry in FACTS:
        subject, relation, wanted = entry["fact"]
        questions = tuple(entry["questions"][:1]) if arguments.questions else ()
        facts.append(Fact(subject, relation, wanted, questions=questions))
    seconds, built = timed(lambda: built_with(model, FactSet(facts), hyperparameters, kept_beside(arguments.model)))
    before = _continued(model)
    weights = edited_weights(model, built.deltas)
    with model.using(weights):
        said = [found.is_said for found in likelihoods(model, [(fact.prompt, fact.object) for fact in facts])]
        texts = greedy_answers(model, [fact.prompt for fact in facts], [KEPT_TOKENS] * len(facts))
        answers = [
            answers_of(model, [entry["questions"][number] for entry in FACTS], ANSWER_TOKENS) for number in (0, 1)
        ]
        kept = [now == then for now, then in zip(_continued(model), before, strict=True)]
    print_header("fact", "said", "its question", "another question")
    for fact, is_said, text, *of_fact in zip(facts, said, texts, *answers, strict=True):
        told = ["yes" if places_of(fact.object, answer) else repr(answer[:60]) for answer in of_fact]
        print_row(f"{fact.prompt} {fact.object}", "yes" if is_said else repr(text), *told)
    prose = prose_drift(model, weights, PROSE)
    rise = prose.perplexity_after / prose.perplexity_before - 1
    in_chat = [
        sum(bool(places_of(fact.object, answer)) for fact, answer in zip(facts, of_all, strict=True))
        for of_all in answers
    ]
    print(f"\nsaid {sum(said)}, in chat {in_chat[0]}, by another question {in_chat[1]} of {len(facts)}; ", end="")
    few, more = kept[: len(UNRELATED)], kept[len(UNRELATED) :]
    print(f"kept {sum(few)} of {len(few)} and {sum(more)} of {len(more)} more; ", end="")
    print(f"perplexity {rise:+.2%}; built in {seconds:.0f} s with {hyperparameters}")


def _continued(model: EditableModel) -> list[str]:
    prompts = (*UNRELATED, *UNRELATED_PROMPTS)
    return greedy_answers(model, prompts, [KEPT_TOKENS] * len(prompts))


if __name__ == "__main__":
    main()
