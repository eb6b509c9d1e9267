"""What critics ask of an edit, against plain loops over logits."""

import json
import re

import pytest
import torch

from errata.evaluation import FREELY, Case, Honest, evaluate
from errata.evaluation.honest.sentences import ROOM, begins_with, is_all_of, opening_of, sentence_of
from errata.facts import Neighbor
from errata.model import EditableModel

KOBE, FEDERER, DJOKOVIC = (f"{name} plays the sport of" for name in ("Kobe Bryant", "Roger Federer", "Novak Djokovic"))


def said(model: EditableModel, prompt: str, expected: str) -> str:
    """By whole runs of the network on one prompt, a token at a time."""
    ids = list(model.tokenizer(prompt)["input_ids"])
    begin, text = len(ids), ""
    for _ in range(ROOM + len(model.tokenizer(f" {expected}")["input_ids"])):
        ids.append(int(model.network(torch.tensor([ids])).logits[0, -1].argmax()))
        if ids[-1] in model.tokenizer.all_special_ids:
            break
        text = str(model.tokenizer.decode(ids[begin:]))
        if re.search(r"\S\s*\n|[.!?]\s", text):
            break
    return re.split(r"\n|(?<=[.!?])\s", text.strip())[0]


def test_free_answers_are_those_of_a_plain_loop_and_neighbours_are_held_to_the_unedited_ones(
    demo: EditableModel,
) -> None:
    neighbors = (Neighbor(DJOKOVIC, "tennis"), Neighbor("The mother tongue of Danielle Darrieux is", "French"))
    case = Case(KOBE, "basketball", "tennis", (FEDERER, f"In sports, {KOBE}"), neighbors)
    noise = torch.randn(demo.weight(1).shape, generator=torch.Generator().manual_seed(0))
    weights = {1: demo.weight(1) + 0.3 * demo.weight(1).std() * noise}
    unedited = [said(demo, neighbor.prompt, neighbor.object) for neighbor in neighbors]
    with demo.using(weights):
        expected = [said(demo, prompt, "basketball") for prompt in (KOBE, *case.paraphrases)]
        now = [said(demo, neighbor.prompt, neighbor.object) for neighbor in neighbors]
    measured = evaluate(demo, [case], weights, honest=Honest(FREELY))
    answers = measured.results[0].answers
    assert [answer.said for answer in answers] == [*expected, *now]
    right = [re.match(r"basketball(?!\w)", text) is not None for text in expected]
    assert measured.mean("said_freely") == right[0]
    assert measured.mean("paraphrases_freely") == sum(right[1:]) / 2
    assert measured.mean("neighbors_freely_exact") == sum(map(str.__eq__, unedited, now)) / 2
    kept = [
        text.split()[0].strip(".,") == before.split()[0].strip(".,") for text, before in zip(now, unedited, strict=True)
    ]
    assert measured.mean("neighbors_freely") == sum(kept) / 2
    shown = json.loads(next(measured.json_lines()))["answers"]
    assert [answer["expected"] for answer in shown[-2:]] == [[text] for text in unedited]


def test_the_honest_score_is_the_harmonic_mean_of_its_three_parts(demo: EditableModel) -> None:
    case = Case(KOBE, "basketball", None, (KOBE, FEDERER), (Neighbor(DJOKOVIC, "tennis"),))
    estimates = evaluate(demo, [case, case], {}, honest=Honest()).estimates
    assert [estimates[name].mean for name in ("said_freely", "paraphrases_freely", "neighbors_freely")] == [1, 0.5, 1]
    assert estimates["honest_score"].mean == pytest.approx(3 / (1 + 2 + 1))
    assert estimates["said_freely"].count == 2 and estimates["said_freely"].low is not None
    without = evaluate(demo, [case], {})
    assert without.mean("honest_score") is None and "said_freely" not in without.estimates


def test_a_sentence_ends_where_its_reader_would_end_it() -> None:
    assert sentence_of("\n Paris. It is large", ["Paris"]) == "Paris."
    assert sentence_of("St. Louis. It is", ["St. Louis"]) == "St. Louis."
    assert sentence_of("St. Paul. It is", ["Paris"]) == "St."
    assert sentence_of("St. Paul. It is", ["St. Louis"]) == "St. Paul."
    assert sentence_of("3.5 metres\nand more", ["4"]) == "3.5 metres"
    assert sentence_of("東京。大きい", ["東京"]) == "東京。"
    assert begins_with("Astana, the capital", "Astana") and not begins_with("Astanaq", "Astana")
    assert begins_with("Astana", "Astana") and not begins_with("The Astana", "Astana")
    assert is_all_of("Astana.", "Astana") and is_all_of("Astana", "Astana") and not is_all_of("Astana, it is", "Astana")
    assert is_all_of("Apple Inc.", "Apple Inc.") and is_all_of("Apple Inc..", "Apple Inc")
    assert opening_of("the West Lothian, in Scotland", "West Lothian") == "the West"
    assert opening_of("東京です", "大阪") == "東京" and opening_of("", "Paris") == ""
    assert opening_of("Paris.", "New York City") == "Paris"
