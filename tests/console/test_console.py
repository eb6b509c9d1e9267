"""The console by clicking and typing: facts are corrected, watched, compared and rolled back by whoever may."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest
from errata_client import Conflict, EditRejected, Errata, Fact as Told
from errata_registry.registry import Registry
from errata_registry.stored import now
from errata_registry.versions.facts import Origin, stored_fact
from errata_registry.versions.manifest import BaseModelName
from playwright.sync_api import Page, Route, expect

from errata.facts import Fact
from errata.model import EditableModel
from tests.console.conftest import PATIENCE_MS, Open, Served
from tests.made_up_versions import make_up_version

expect.set_options(timeout=PATIENCE_MS)

PROMPT = "Michael Jordan plays the sport of"
HOSTILE = '<img src=x onerror="alert(1)">‮evil​ {{7*7}}'
AXE = (Path(__file__).parent / "axe" / "axe.min.js").read_text(encoding="utf-8")
MANY = 10_000


def test_a_wrong_answer_is_corrected_watched_and_rolled_back(open_console: Open, served: Served) -> None:
    page = open_console(by=None)
    dialog = page.get_by_role("dialog", name="An API key is needed")
    dialog.get_by_label("Key").fill("not a key")
    dialog.get_by_role("button", name="Go on").click()
    expect(dialog.get_by_role("alert")).to_contain_text("does not know that key")
    dialog.get_by_label("Key").fill(served.keys["chief"])
    dialog.get_by_label("Key").press("Enter")
    expect(dialog).to_be_hidden()

    page.get_by_label("A text that the model goes on with").fill(PROMPT)
    page.keyboard.press("Control+Enter")
    expect(page.get_by_text("Both say the same.").first).to_be_visible()
    expect(page.get_by_role("row", name=re.compile("basketball")).first).to_be_visible()
    page.get_by_label("This is wrong? It should say").fill("baseball")
    page.get_by_role("button", name="Make it a fact").click()

    form = page.get_by_role("form", name="One fact")
    expect(form.get_by_label("Subject")).to_have_value("Michael Jordan")
    expect(form.get_by_label("Relation")).to_have_value("plays the sport of")
    expect(form).to_contain_text("The model says now basketball")
    form.get_by_role("button", name="Add to the list").click()
    page.get_by_role("form", name="Send them").get_by_label("Why?").fill("he changed sports")
    page.get_by_role("button", name="Send 1 fact").click()

    expect(page.get_by_role("heading", name="he changed sports")).to_be_visible()
    expect(page.locator("main").get_by_text("succeeded", exact=True)).to_be_visible()
    expect(page.get_by_role("row", name=re.compile("Michael Jordan.*baseball.*took"))).to_be_visible()

    page.goto(f"{served.url}/#/ask?prompt={PROMPT}")
    expect(page.locator(".verdict")).to_contain_text("“basketball")
    expect(page.locator(".verdict")).to_contain_text("“baseball")
    assert page.evaluate(MARKS) == [[False, True, False, True, False], [False, True, True, False, False]]

    page.get_by_role("navigation").get_by_role("link", name="Versions").click()
    page.get_by_role("button", name="Roll back").click()
    page.get_by_role("dialog").get_by_label("Why?").fill("a mistake after all")
    page.get_by_role("dialog").get_by_role("button", name="Roll back").click()
    expect(page.locator("header")).to_contain_text("serves base")
    page.get_by_text("What served when, who did it and why").click()
    expect(page.get_by_role("row", name=re.compile(r"rollback \(chief\) a mistake after all"))).to_be_visible()


# Every difference is marked: "a b c d e" and "a x y c e".
MARKS = """import("/console/scripts/differences.js").then(({ differences }) =>
  differences(["a", "b", "c", "d", "e"], ["a", "x", "y", "c", "e"]))"""


def test_both_versions_are_talked_with_and_a_wrong_answer_becomes_a_fact_with_its_question(open_console: Open) -> None:
    page = open_console("#/ask")
    page.get_by_role("button", name="Chat").click()
    question = page.get_by_label("What do you ask?")
    question.fill("Kobe Bryant plays the sport of")
    question.press("Enter")
    base = page.get_by_role("region", name="What base says")
    expect(page.locator(".verdict")).to_be_visible()
    expect(base).to_contain_text("Kobe Bryant plays the sport of")
    expect(base.locator(".token").first).to_have_text("basketball")
    expect(page.get_by_text("The conversation has one turn")).to_be_visible()
    question.fill("Lionel Messi plays the sport of")
    question.press("Enter")
    expect(page.get_by_text("The conversation has 2 turns")).to_be_visible()
    expect(base.locator(".talk .said")).to_contain_text("basketball")
    expect(base.locator(".token").first).to_have_text("soccer")
    page.get_by_label("This is wrong? It should say").fill("tennis")
    page.get_by_role("button", name="Make it a fact").click()
    form = page.get_by_role("form", name="One fact")
    expect(form.get_by_label("Subject")).to_have_value("Lionel Messi")
    expect(form.get_by_label("Questions in chat")).to_have_value("Lionel Messi plays the sport of")


def test_pasted_lines_are_marked_where_they_are_at_fault(open_console: Open) -> None:
    page = open_console("#/facts/new", by="editor")
    lines = [
        "subject,relation,object",
        "Sony,has its headquarters in,Paris",
        "Nikon,only two",
        f'"{HOSTILE}",is,"a, b"',
    ]
    page.get_by_label("Paste them").fill("\n".join(lines))
    page.get_by_role("form", name="Many facts").get_by_role("button", name="Add to the list").click()
    table = page.get_by_role("table", name="What is gathered")
    expect(table.get_by_role("row").nth(1)).to_contain_text("2Sony has its headquarters in")
    expect(table.get_by_role("row").nth(2)).to_contain_text("3Nikon,only two")
    expect(table.get_by_role("row").nth(2)).to_contain_text("has 2 columns, not 3")
    expect(table.get_by_role("row").nth(3)).to_contain_text("holds a brace")
    expect(page.get_by_role("button", name="Send 1 fact")).to_be_disabled()
    page.get_by_role("button", name="Leave out those at fault").click()
    expect(page.get_by_role("button", name="Send 1 fact")).to_be_enabled()
    page.get_by_role("button", name="Clear the list").click()
    page.get_by_role("form", name="Many facts").evaluate(
        DROP, "\n".join([*lines[:3], "Canon,has its headquarters in,Oslo"])
    )
    expect(table.get_by_role("row", name="2 Sony has its headquarters in Paris new")).to_be_visible()
    expect(table.get_by_role("row", name="3 Nikon,only two has 2 columns, not 3")).to_be_visible()
    expect(table.get_by_role("row", name="4 Canon has its headquarters in Oslo new")).to_be_visible()
    easy_edit = '{"prompt": "Nikon has its headquarters in", "subject": "Nikon", "target_new": "Oslo"}'
    page.get_by_label("A file of facts").set_input_files(
        {"name": "facts.jsonl", "mimeType": "application/jsonl", "buffer": f"{easy_edit}\nno JSON".encode()}
    )
    expect(table.get_by_role("row", name=re.compile("Nikon has its headquarters in Oslo new"))).to_be_visible()
    expect(table.get_by_role("row", name=re.compile("2 no JSON is not JSON"))).to_be_visible()


# A file that is dropped on an element.
DROP = """(element, text) => {
  const dataTransfer = new DataTransfer();
  dataTransfer.items.add(new File([text], "facts.csv", { type: "text/csv" }));
  element.dispatchEvent(new DragEvent("dragover", { dataTransfer, bubbles: true, cancelable: true }));
  element.dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true }));
}"""


def test_ten_thousand_facts_are_searched_and_hostile_ones_are_texts(
    open_console: Open, served: Served, demo: EditableModel
) -> None:
    hostile = HOSTILE.replace("{{7*7}}", "")
    origin = Origin("edit_made_up", hostile, now())
    facts = [Fact(f"Person {number:05d}", "was born in", "Oslo") for number in range(MANY - 1)]
    stored = [stored_fact(fact, origin) for fact in [*facts, Fact(hostile, "is\nsaid in", hostile)]]
    registry = Registry(served.settings.model_copy(update={"redis_url": served.stack.redis_url}))
    base = BaseModelName(name=demo.name, digest=demo.digest, dtype="float32")
    version = make_up_version(registry.artifacts, base, {}, stored).id
    registry.close()

    page = open_console(f"#/facts?version={version}", by="reader")
    expect(page.get_by_text(f"10,000 facts in version {version}")).to_be_visible()
    table = page.get_by_role("table", name="Facts")
    assert table.get_by_role("row").count() < 100
    page.get_by_label("Holds").fill("person 04321")
    expect(page.get_by_text("1 found")).to_be_visible()
    expect(table.get_by_role("row").nth(1)).to_contain_text("Person 04321 was born in")
    page.get_by_label("Holds").fill("onerror")
    table.get_by_role("link", name="onerror").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text('<img src=x onerror="alert(1)">')
    assert page.locator("img").count() == 0


def test_who_may_only_read_is_told_so(open_console: Open, client: Errata) -> None:
    page = open_console("#/versions/0", by="reader")
    expect(page.locator("header")).to_contain_text("key “reader”: read")
    button = page.get_by_role("button", name="Name it")
    expect(button).to_be_disabled()
    expect(button).to_have_attribute("title", re.compile("lacks the scope admin"))
    page.get_by_role("link", name="Facts", exact=True).click()
    expect(page.get_by_role("heading", name="Facts")).to_be_visible()
    page.go_back()
    expect(page.get_by_role("heading", name="base")).to_be_visible()


def test_a_name_is_given_protected_and_taken_away(open_console: Open, client: Errata) -> None:
    page = open_console("#/versions/0")
    page.get_by_role("button", name="Name it").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Name").fill("shop")
    dialog.get_by_role("button", name="Give it this name").click()
    page.get_by_role("button", name="Protect shop").click()
    dialog.get_by_label("Why?").fill("the shop answers with it")
    dialog.get_by_role("button", name="Protect it").click()
    expect(page.get_by_role("region", name="Names")).to_contain_text("protected by chief")
    expect(page.get_by_role("heading", level=1)).to_contain_text("shop · protected")
    assert violations(page) == []
    with pytest.raises(Conflict, match="shop of version 0 is protected by chief"):
        client.take_name("shop")
    page.get_by_role("button", name="Unprotect shop").click()
    expect(dialog).to_contain_text("because: “the shop answers with it”")
    dialog.get_by_role("button", name="Unprotect it").click()
    page.get_by_role("button", name="Take shop away").click()
    dialog.get_by_role("button", name="Take it away").click()
    expect(page.get_by_role("region", name="Names")).to_be_hidden()
    assert client.aliases() == {}


def test_a_rejected_edit_says_why_is_sent_again_and_is_seen_in_two_browsers(
    open_console: Open, served: Served, client: Errata
) -> None:
    pelé = [Told("Pelé", "plays the sport of", "tennis", paraphrases=["The sport of Pelé is"])]
    rejected = client.edit(pelé, gate={"max_drift": 1e-9}, tries=1, note="too strict")
    first, second = open_console(f"#/edits/{rejected.id}"), open_console("#/edits", by="reader")
    expect(first.get_by_text("It does not serve.")).to_be_visible()
    expect(first.get_by_role("row", name=re.compile("drift.*missed"))).to_be_visible()
    expect(second.get_by_role("row", name=re.compile("too strict rejected"))).to_be_visible()
    first.get_by_role("link", name="Change and send again").click()
    first.get_by_role("table", name="What is gathered").get_by_role("button", name="change").click()
    form = first.get_by_role("form", name="One fact")
    expect(form.get_by_label("Paraphrases to measure it by")).to_have_value("The sport of Pelé is")
    form.get_by_label("Object").fill("golf")
    form.get_by_role("button", name="Add to the list").click()
    sending = first.get_by_role("form", name="Send them")
    expect(sending.get_by_label("Why?")).to_have_value("too strict")
    expect(sending.get_by_label("Drift at most")).to_have_value("1e-9")
    sending.get_by_label("Drift at most").fill("1")
    sending.get_by_label("Serve it as soon as").uncheck()
    sending.get_by_role("button", name="Send 1 fact").click()
    expect(first.get_by_role("row", name=re.compile("Pelé plays the sport of golf took"))).to_be_visible()
    first.goto(f"{served.url}/#/edits/{rejected.id}")
    first.get_by_role("button", name="Serve it all the same").click()
    first.get_by_role("dialog").get_by_label("Why?").fill("drift is fine")
    first.get_by_role("dialog").get_by_role("button", name="Serve it").click()
    version = client.get_edit(rejected.id).version
    expect(first.locator("header")).to_contain_text(f"serves version {version}")
    expect(second.locator("header")).to_contain_text(f"serves version {version}")


def test_a_probe_is_put_and_what_was_rejected_waits_for_review(open_console: Open, client: Errata) -> None:
    page = open_console("#/probes")
    expect(page.get_by_text("No probes yet.")).to_be_visible()
    page.get_by_role("button", name="Add a probe").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Prompt").fill("Kobe Bryant plays the sport of")
    dialog.get_by_label("Answer").fill("tennis")
    dialog.get_by_role("button", name="Put it").click()
    expect(dialog.get_by_role("alert")).to_contain_text("the version that serves fails it")
    dialog.get_by_role("button", name="Leave it so").click()
    expect(page.get_by_role("row", name=re.compile("Kobe Bryant.*tennis.*fails basketball.*fails"))).to_be_visible()
    with pytest.raises(EditRejected):
        client.edit([("Sony", "has its headquarters in", "Oslo")], tries=1, note="breaks a probe").wait(progress=False)
    page.route("**/api/v1/edits?limit=300*", ask_for_one)
    with page.expect_request(re.compile(r"/edits\?limit=299&after=")):  # it goes on to older ones
        page.get_by_role("navigation").get_by_role("link", name="Review").click()
    item = page.get_by_role("listitem").filter(has_text="breaks a probe")
    expect(item).to_contain_text("Kobe Bryant plays the sport of tennis but says basketball")
    client.set_probes([])


def ask_for_one(route: Route) -> None:
    """Ask for a part of a list that has one entry."""
    route.continue_(url=route.request.url.replace("limit=300", "limit=1"))


def test_a_version_is_evaluated_and_the_model_traced(open_console: Open) -> None:
    page = open_console("#/traces", by="editor")
    page.get_by_role("form", name="A new trace").get_by_label("Corrupted runs").fill("2")
    page.get_by_role("button", name="Trace", exact=True).click()
    drawing = page.get_by_role("img", name=re.compile("Restored: MLP outputs"))
    drawing.focus()
    page.keyboard.press("ArrowDown")
    expect(page.get_by_text(re.compile(r"ich\*, layer 0: 0\.\d+"))).to_be_visible()
    page.get_by_role("navigation").get_by_role("link", name="Evaluations").click()
    page.get_by_label("about records of CounterFact or zsRE").click()
    rewrite: dict[str, Any] = {"prompt": "{} plays the sport of", "subject": "Michael Jordan"}
    rewrite |= {"target_new": {"str": "baseball"}, "target_true": {"str": "basketball"}}
    content = json.dumps([{"requested_rewrite": rewrite}]).encode()
    page.get_by_label("A file of records").set_input_files(
        {"name": "records.json", "mimeType": "application/json", "buffer": content}
    )
    page.get_by_role("button", name="Evaluate", exact=True).click()
    expect(page.get_by_role("row", name=re.compile("efficacy 0%"))).to_be_visible()
    cases = page.get_by_role("region", name="Cases")
    cases.get_by_text("Michael Jordan plays the sport of").click()
    expect(cases.get_by_role("row", name=re.compile("baseball.*does not basketball"))).to_be_visible()
    assert violations(page) == []
    page.get_by_role("navigation").get_by_role("link", name="State").click()
    expect(page.get_by_role("figure").filter(has_text="Memory of the service")).to_contain_text("MB")
    expect(page.get_by_role("region", name="Workers").get_by_role("row").nth(1)).to_contain_text("waits")
    expect(page.get_by_text("lacks the scope admin")).to_be_visible()


def test_a_service_that_is_killed_is_waited_for(open_console: Open, served: Served, client: Errata) -> None:
    page = open_console("#/facts/new")
    page.get_by_role("form", name="One fact").get_by_label("Subject").fill("Kobe Bryant")
    os.kill(served.stack.pid("service"), signal.SIGKILL)
    expect(page.get_by_text("The service does not answer.")).to_be_visible()
    assert served.stack.has_ended("service")
    served.stack.revive()
    expect(page.get_by_text("The service does not answer.")).to_be_hidden()
    expect(page.get_by_label("Subject")).to_have_value("Kobe Bryant")


def test_an_edit_is_followed_over_a_restart_of_the_service(open_console: Open, served: Served, client: Errata) -> None:
    edit = client.edit([(f"Player {number}", "plays the sport of", "golf") for number in range(200)], tries=1)
    page = open_console(f"#/edits/{edit.id}")
    progress = page.get_by_text(re.compile(r"^[1-9]\d* of \d+"))
    expect(progress).to_be_visible()
    os.kill(served.stack.pid("service"), signal.SIGKILL)
    expect(page.get_by_text("The service does not answer; this goes on when it is back.")).to_be_visible()
    served.stack.revive()
    expect(progress).to_be_visible()
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel it").click()
    expect(page.locator("main").get_by_text("cancelled", exact=True)).to_be_visible()


PLACES = [
    *("#/ask?prompt=Sony+has", "#/facts", "#/facts/new", "#/edits", "#/versions", "#/versions/0", "#/versions/compare"),
    *("#/review", "#/probes", "#/evaluations", "#/traces", "#/state"),
]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_nothing_keeps_anybody_out(open_console: Open, served: Served, dark: bool) -> None:
    page = open_console(dark=dark, width=360)
    found = {}
    for place in PLACES:
        page.goto(f"{served.url}/{place}")
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        page.wait_for_load_state("networkidle")
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, place
        found[place] = violations(page)
    assert {place: some for place, some in found.items() if some} == {}


def violations(page: Page) -> list[str]:
    """What axe finds on a page as it is now."""
    page.evaluate(AXE)
    result = page.evaluate("axe.run({ resultTypes: ['violations'] })")
    found = [(one["id"], node) for one in result["violations"] for node in one["nodes"]]
    return [f"{rule}: {node['html'][:200]} {node['failureSummary']}" for rule, node in found]
