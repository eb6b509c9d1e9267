// Facts: those of a version, searched and filtered, and withdrawn.
import { api } from "../api.js";
import { Confirm } from "../parts/dialog.js";
import { VersionPicker, isCalled, nameOf, useVersions } from "../parts/versions.js";
import { VirtualTable } from "../parts/virtual.js";
import { Act, Empty, Fault, Field, Time, Title } from "../parts/words.js";
import { go, to } from "../router.js";
import { useScope } from "../session.js";
import { html, useEffect, useRef, useState } from "../ui.js";
import { count, many, promptOf } from "../words.js";

const PAGE = 500;
const TYPING_MS = 150;

export function Facts({ query }) {
  const [wanted, setWanted] = useState({ text: "", version: "active", by: "", edit: "", ...query });
  const [chosen, setChosen] = useState(/** @type {Map<string, any>} */ (new Map()));
  const [asks, setAsks] = useState(false);
  const { may, why } = useScope("edit");
  const { data: versions } = useVersions();
  const found = useFound(wanted);
  const filters = wanted.text || wanted.by || wanted.edit;
  const version = versions?.data.find((one) => isCalled(one, wanted.version));
  const total = filters ? found.rows.length : Math.max(version?.facts ?? 0, found.rows.length);

  const change = (changes) => {
    const next = { ...wanted, ...changes };
    setWanted(next);
    history.replaceState(null, "", to("facts", { ...next, version: next.version === "active" ? "" : next.version }));
  };
  const choose = (fact) => {
    const next = new Map(chosen);
    if (!next.delete(fact.id)) next.set(fact.id, fact);
    setChosen(next);
  };

  return html`<div class="screen">
    <${Title} actions=${html`
      ${chosen.size > 0 && html`<${Act} class="grave" may=${may} why=${why} onClick=${() => setAsks(true)}>Withdraw ${many(chosen.size, "fact")} …<//>`}
      <a class="button first" href=${to("facts", "new")}>Add facts</a>`}>Facts<//>
    <form class="row end filters" role="search" onSubmit=${(event) => event.preventDefault()}>
      <${Field} label="Holds"><input type="search" value=${wanted.text} onInput=${(event) => change({ text: event.target.value })} placeholder="any part of a fact" /><//>
      <${VersionPicker} label="Version" value=${wanted.version} onChange=${(name) => change({ version: name })} />
      <${Field} label="Sent by"><input value=${wanted.by} onInput=${(event) => change({ by: event.target.value })} placeholder="name of a key" /><//>
      ${wanted.edit && html`<span class="small">from <code>${wanted.edit}</code> <button type="button" class="plain" onClick=${() => change({ edit: "" })}>from any edit</button></span>`}
    </form>
    <p class="small soft" role="status">${found.waits ? "Looking …" : filters ? `${count(found.rows.length)}${found.next ? " or more" : ""} found` : `${many(total, "fact")} in ${version ? nameOf(version.id) : "this version"}`}</p>
    <${Fault} problem=${found.problem} />
    ${found.rows.length > 0 && html`<${VirtualTable} label="Facts" columns=${["(choose)", "prompt", "says", "instead of", "since", "by"]} rows=${found.rows} total=${total} onEnd=${found.more} kind="facts"
      row=${(fact) => html`
        <span role="cell"><input type="checkbox" aria-label=${`Choose ${fact.subject} ${fact.relation}`} checked=${chosen.has(fact.id)} onChange=${() => choose(fact)} /></span>
        <span role="cell" class="said cut"><a href=${to("facts", fact.id, { version: wanted.version === "active" ? "" : wanted.version })}>${promptOf(fact)}</a></span>
        <span role="cell" class="cut"><ins class="said">${fact.object}</ins></span>
        <span role="cell" class="cut">${fact.replaced && html`<del class="said">${fact.replaced}</del>`}</span>
        <span role="cell" class="small soft"><${Time} at=${fact.at} short /></span>
        <span role="cell" class="small soft cut">${fact.by ?? ""}</span>`} />`}
    ${!found.waits && found.rows.length === 0 && !found.problem && (filters
      ? html`<${Empty} title="No fact holds that.">Look in another version, or for less.<//>`
      : html`<${Empty} title=${`No facts yet in ${version ? nameOf(version.id) : "this version"}.`}><p>A fact says what the model shall answer: <span class="said">Michael Jordan plays the sport of <ins class="said">baseball</ins></span>. <a href=${to("facts", "new")}>Add one</a>, or drop a file of them there; or <a href=${to("ask")}>ask the model</a> and put right what it says.</p><//>`)}
    ${asks && html`<${Confirm} title=${`Withdraw ${many(chosen.size, "fact")}?`} yes="Withdraw" grave onClose=${() => setAsks(false)}
      onYes=${async (note) => go(to("edits", (await api.sendEdit({ retract: [...chosen.keys()], note: note || null })).id))}>
      <p>A new version is built of what serves without ${chosen.size === 1 ? "it" : "them"}, and the model says again what it said before:</p>
      <ul>${[...chosen.values()].slice(0, 8).map((fact) => html`<li>${promptOf(fact)} <del class="said">${fact.object}</del></li>`)}${chosen.size > 8 && html`<li class="soft">and ${chosen.size - 8} more</li>`}</ul>
    <//>`}
  </div>`;
}

/** The facts that are wanted, fetched part by part as they come into sight. */
function useFound({ text, version, by, edit }) {
  const [state, setState] = useState({ rows: [], next: null, waits: true, problem: null });
  const wanted = useRef("");
  const fetching = useRef(false);
  const load = async (after, known) => {
    const asked = (wanted.current = JSON.stringify([text, version, by, edit]));
    fetching.current = true;
    try {
      const { data, next } = await api.facts({ text, version, by, edit, limit: PAGE, after });
      if (wanted.current === asked) setState({ rows: [...known, ...data], next, waits: false, problem: null });
    } catch (problem) {
      if (wanted.current === asked) setState({ rows: known, next: null, waits: false, problem });
    } finally {
      fetching.current = false;
    }
  };
  useEffect(() => {
    setState((state) => ({ ...state, waits: true }));
    const timer = setTimeout(() => load(null, []), TYPING_MS);
    return () => clearTimeout(timer);
  }, [text, version, by, edit]);
  return { ...state, more: () => state.next && !fetching.current && load(state.next, state.rows) };
}
