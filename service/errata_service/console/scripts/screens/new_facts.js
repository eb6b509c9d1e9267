// Add facts: one by a form that helps, many by a text or a file; what each would do is seen before anything is sent.
import { api } from "../api.js";
import { Send, isGood } from "../parts/send_facts.js";
import { VirtualTable } from "../parts/virtual.js";
import { Empty, Fault, Field, Tag, Title, Waits } from "../parts/words.js";
import { saysIt } from "../probes.js";
import { guessSubject, recordsOf, relationOf } from "../records.js";
import { to } from "../router.js";
import { useAction } from "../session.js";
import { html, useEffect, useRef, useState } from "../ui.js";
import { many } from "../words.js";

const TYPING_MS = 300;
const ANSWER_TOKENS = 8;
const FIELDS = ["paraphrases", "phrasings", "questions"];

/** @typedef {{key: number, line: number|null, text: string, record?: any, fault?: string, checked?: any}} Entry */

// What was gathered and not sent stays while the page does: records, and an earlier edit that they are sent again of.
let draft = /** @type {Entry[]} */ ([]);
let earlier = /** @type {import("../parts/send_facts.js").Earlier|null} */ (null);
let lastKey = 0;

export function NewFacts({ query }) {
  const [entries, setEntries] = useState(draft);
  const [filling, setFilling] = useState(() => filledFrom(query));
  const checking = useAction(api.checkFacts);
  const fetching = useAction(earlierEdit);
  const gather = (next) => setEntries((draft = next));
  const clear = () => ((earlier = null), gather([]));
  useEffect(() => {
    if (query.again && query.again !== earlier?.edit.id) takeUp();
  }, [query.again]);

  /** Gather an edit's facts, whole, so that they can be changed and sent again. */
  async function takeUp() {
    const found = await fetching.run(query.again);
    if (!found) return;
    earlier = found;
    add(found.facts.map((record) => ({ text: "", record })));
  }

  /** Look at all of them together, since they may contradict each other. */
  const check = async (next) => {
    gather(next);
    const readable = next.filter((entry) => !entry.fault);
    if (!readable.length) return;
    const answer = await checking.run(readable.map((entry) => entry.record));
    if (!answer) return;
    const checked = new Map(readable.map((entry, at) => [entry.key, answer.data[at]]));
    gather(draft.map((entry) => ({ ...entry, checked: checked.get(entry.key) ?? entry.checked })));
  };
  const add = (added) => check([...draft, ...added.map((entry) => ({ line: null, ...entry, key: (lastKey += 1) }))]);
  const take = (entry) => check(draft.filter((other) => other !== entry));
  // A form that is filled anew takes the focus, so that the next fact can be typed at once.
  const again = (record) => ({ ...record, round: lastKey });
  const refill = (entry) => (setFilling(again(entry.checked?.fact ?? entry.record ?? filledFrom({}))), take(entry));

  return html`<div class="screen">
    <${Title}>Add facts<//>
    <div class="sides">
      <${OneFact} key=${JSON.stringify(filling)} filling=${filling} onAdd=${(record) => (add([{ text: "", record }]), setFilling(again(filledFrom({}))))} />
      <${ManyFacts} onAdd=${add} />
    </div>
    <${Fault} problem=${checking.problem} title="They could not be looked at" />
    <${Fault} problem=${fetching.problem} title="The edit could not be taken up" />
    ${fetching.busy && html`<${Waits} what="the facts of that edit" />`}
    ${earlier && html`<p class="notice">These are the facts of <a href=${to("edits", earlier.edit.id)}>${earlier.edit.note || "an earlier edit"}</a>, whole. Change what was wrong, or the bounds below, and send them again.</p>`}
    ${entries.length || earlier ? html`${entries.length > 0 && html`<${Gathered} entries=${entries} onTake=${take} onChange=${refill} onClear=${clear} onTakeBad=${() => check(draft.filter(isGood))} />`}
      <${Send} key=${earlier?.edit.id} entries=${entries} earlier=${earlier} onSent=${clear} />`
      : html`<${Empty} title="What you add is gathered here, and looked at before it is sent.">You see how each prompt reads, what the model holds now, and which line is at fault.<//>`}
  </div>`;
}

const lines = (text) => text.split("\n").map((line) => line.trim()).filter(Boolean);

/**
 * The fields of the form as an address gives them: from a fact, or from a prompt or a question of Ask.
 * @param {{subject?: string, relation?: string, object?: string, prompt?: string, question?: string}} given
 */
function filledFrom({ subject, relation = "", object = "", prompt, question }) {
  const about = subject ?? guessSubject(prompt ?? question ?? "");
  return { subject: about, relation: prompt ? relationOf(prompt, about) : relation, object, ...(question && { questions: [question] }) };
}

/** An edit that made a version, with the facts that it put in and the ids of those that it withdrew. */
async function earlierEdit(id) {
  const edit = await api.edit(id);
  const given = { version: edit.version, edit: id, limit: 1000 };
  const facts = (await allOf((after) => api.facts({ ...given, after }))).map(asSent);
  const changes = edit.retracted ? await allOf((after) => api.diff(edit.base, edit.version, { limit: 1000, after })) : [];
  return { edit, facts, withdrawn: changes.filter((one) => one.change === "retracted") };
}

async function allOf(page) {
  const records = [];
  for (let after; ; ) {
    const { data, next } = await page(after);
    records.push(...data);
    if (!next) return records;
    after = next;
  }
}

/** A version's fact as an edit takes it. */
const asSent = (fact) => Object.fromEntries(["subject", "relation", "object", "space", ...FIELDS, "neighbors"].filter((name) => fact[name] !== undefined && fact[name] !== null).map((name) => [name, fact[name]]));

function OneFact({ filling, onAdd }) {
  const [fact, setFact] = useState({
    subject: filling.subject ?? "", relation: filling.relation ?? "", object: filling.object ?? "",
    ...Object.fromEntries(FIELDS.map((name) => [name, (filling[name] ?? []).join("\n")])),
    neighbors: (filling.neighbors ?? []).map(({ prompt, object }) => `${prompt} | ${object}`).join("\n"),
  });
  const subject = useRef(null);
  useEffect(() => filling.round && subject.current.focus(), []);
  const record = { ...recordOf(fact), ...(filling.space !== undefined && { space: filling.space }) };
  const { checked, now } = useForeseen(record);
  const fault = (name) => checked?.errors.find((error) => error.pointer === `/${name}`)?.detail;
  const elsewhere = checked?.errors.filter((error) => !["/subject", "/relation", "/object"].includes(error.pointer)) ?? [];
  const type = (name) => (event) => setFact({ ...fact, [name]: event.target.value });
  const isWhole = fact.subject.trim() && fact.relation.trim() && fact.object.trim();
  const submit = (event) => {
    event.preventDefault();
    if (isWhole && !checked?.errors.length) onAdd(record);
  };
  const text = (name, label, hint) => html`<${Field} label=${label} hint=${hint}><textarea rows="2" value=${fact[name]} onInput=${type(name)}></textarea><//>`;
  return html`<form class="sheet stack" onSubmit=${submit} aria-label="One fact">
    <h2>One fact</h2>
    <${Field} label="Subject" fault=${fault("subject")}><input ref=${subject} class="reads" value=${fact.subject} onInput=${type("subject")} placeholder="Michael Jordan" /><//>
    <${Field} label="Relation" hint="What follows the subject, or a text with {} where the subject stands." fault=${fault("relation")}><input class="reads" value=${fact.relation} onInput=${type("relation")} placeholder="plays the sport of" /><//>
    <${Field} label="Object" hint="What the model shall say." fault=${fault("object")}><input class="reads" value=${fact.object} onInput=${type("object")} placeholder="baseball" /><//>
    <details open=${FIELDS.some((name) => fact[name]) || Boolean(fact.neighbors)}>
      <summary>Other wordings, and what must stay</summary>
      <div class="stack">
        ${text("phrasings", "Also learnt after", "Prompts in other words, one a line; each names the subject.")}
        ${text("questions", "Questions in chat that it answers", "One a line; each names the subject.")}
        ${text("paraphrases", "Paraphrases to measure it by", "One a line. The model is not trained on them.")}
        ${text("neighbors", "Neighbours that must stay as they are", "prompt | answer, one a line, such as: Kobe Bryant plays the sport of | basketball")}
      </div>
    </details>
    <div class="foreseen" aria-live="polite">
      ${checked?.prompt && html`<p><span class="small soft">Reads</span> <span class="said">${checked.prompt} <ins class="said">${fact.object.trim()}</ins></span></p>`}
      ${now !== null && html`<p><span class="small soft">The model says now</span> <span class="said">${now || "nothing"}</span> ${saysIt(now, fact.object.trim()) && html`<${Tag} tone="good">says it already<//>`}</p>`}
      ${checked?.before && checked.before !== fact.object.trim() && html`<p><${Tag} tone="warn">changes a fact<//> which says <del class="said">${checked.before}</del> now.</p>`}
      ${checked?.before && checked.before === fact.object.trim() && html`<p><${Tag}>is there already<//></p>`}
      ${checked?.alike.map((one) => html`<p><${Tag} tone="warn">looks like<//> <a href=${to("facts", one.id)}>${one.subject} ${one.relation} ${one.object}</a>, which differs in case or spacing.</p>`)}
      ${elsewhere.map((error) => html`<p class="fault">${error.pointer.slice(1)} ${error.detail}</p>`)}
    </div>
    <div class="row"><button type="submit" disabled=${!isWhole || checked?.errors.length > 0}>Add to the list</button></div>
  </form>`;
}

function recordOf(fact) {
  const record = { subject: fact.subject, relation: fact.relation, object: fact.object };
  for (const name of FIELDS) if (lines(fact[name]).length) record[name] = lines(fact[name]);
  const neighbors = lines(fact.neighbors).map((line) => line.split("|").map((part) => part.trim()));
  if (neighbors.length) record.neighbors = neighbors.map(([prompt, object = ""]) => ({ prompt, object }));
  return record;
}

/** What a record would do, and what the model says there now, looked up once typing has stopped for a moment. */
function useForeseen(record) {
  const [foreseen, setForeseen] = useState({ checked: null, now: null });
  const name = JSON.stringify(record);
  useEffect(() => {
    if (!record.subject.trim() || !record.relation.trim()) return;
    const stop = new AbortController();
    const timer = setTimeout(async () => {
      try {
        const asked = record.object.trim() ? record : { ...record, object: "…" };
        const { data: [checked] } = await api.checkFacts([asked], undefined, stop.signal);
        setForeseen(({ now }) => ({ checked, now }));
        if (!checked.prompt) return;
        const { data: [said] } = await api.generate("active", [checked.prompt], ANSWER_TOKENS, stop.signal);
        setForeseen({ checked, now: said.text.trim().split("\n")[0] });
      } catch {
        // it is only foreseen; the list says what is wrong
      }
    }, TYPING_MS);
    return () => {
      clearTimeout(timer);
      stop.abort();
    };
  }, [name]);
  return foreseen;
}

function ManyFacts({ onAdd }) {
  const [text, setText] = useState("");
  const [over, setOver] = useState(false);
  const file = useRef(null);
  const read = async (files) => {
    for (const one of files) onAdd(recordsOf(await one.text()));
  };
  const drop = (event) => {
    event.preventDefault();
    setOver(false);
    read(event.dataTransfer.files);
  };
  const submit = (event) => {
    event.preventDefault();
    onAdd(recordsOf(text));
    setText("");
  };
  return html`<form class=${`sheet stack ${over ? "over" : ""}`} aria-label="Many facts" onSubmit=${submit}
    onDragOver=${(event) => (event.preventDefault(), setOver(true))} onDragLeave=${() => setOver(false)} onDrop=${drop}>
    <h2>Many facts</h2>
    <${Field} label="Paste them" hint="Lines of subject | relation | object, rows of a spreadsheet, CSV with these columns, JSON lines, or records of CounterFact, zsRE or EasyEdit.">
      <textarea rows="7" class="pasted" spellcheck="false" value=${text} onInput=${(event) => setText(event.target.value)} placeholder=${"Sony | has its headquarters in | Paris\nLionel Messi | plays the sport of | tennis"}></textarea><//>
    <div class="row">
      <button type="submit" disabled=${!text.trim()}>Add to the list</button>
      <button type="button" onClick=${() => file.current.click()}>Choose a file …</button>
      <input ref=${file} type="file" hidden aria-label="A file of facts" accept=".csv,.json,.jsonl,.txt,.tsv" multiple onChange=${(event) => (read(event.target.files), (event.target.value = ""))} />
      <span class="small soft">or drop one here</span>
    </div>
  </form>`;
}

function Gathered({ entries, onTake, onChange, onClear, onTakeBad }) {
  const bad = entries.filter((entry) => !isGood(entry));
  const good = entries.filter((entry) => isGood(entry) && entry.checked);
  const added = good.filter((entry) => !entry.checked.before);
  const changed = good.filter((entry) => entry.checked.before && entry.checked.before !== entry.checked.fact.object);
  const does = [[added, "new"], [changed, "changed"], [bad, "at fault"]].filter(([some]) => some.length).map(([some, what]) => ` · ${some.length} ${what}`);
  return html`<section class="stack" aria-label="What is gathered">
    <div class="row apart">
      <h2>${many(entries.length, "record")} <span class="soft">${does.join("")}</span></h2>
      <div class="row">
        ${bad.length > 0 && html`<button type="button" onClick=${onTakeBad}>Leave out those at fault</button>`}
        <button type="button" onClick=${onClear}>Clear the list</button>
      </div>
    </div>
    <${VirtualTable} label="What is gathered" kind="gathered" columns=${["line", "prompt", "shall say", "what it does", "(actions)"]} rows=${entries} total=${entries.length}
      row=${(entry) => html`
        <span role="cell" class="small soft numbers">${entry.line ?? ""}</span>
        ${isGood(entry)
          ? html`<span role="cell" class="said cut">${entry.checked?.prompt ?? "…"}</span><span role="cell" class="cut"><ins class="said">${entry.checked?.fact.object}</ins></span>`
          : html`<span role="cell" class="cut bad"><code>${entry.text || JSON.stringify(entry.record)}</code></span><span role="cell"></span>`}
        <span role="cell" class="cut"><${Foreseen} entry=${entry} /></span>
        <span role="cell" class="row"><button type="button" class="plain small" onClick=${() => onChange(entry)}>change</button><button type="button" class="plain small" onClick=${() => onTake(entry)}>leave out</button></span>`} />
  </section>`;
}

function Foreseen({ entry }) {
  const { checked, fault } = entry;
  if (fault) return html`<span class="fault" title=${fault}>${fault}</span>`;
  if (!checked) return html`<span class="soft">being looked at …</span>`;
  if (checked.errors.length) {
    const said = checked.errors.map((error) => `${error.pointer.slice(1)} ${error.detail}`.trim()).join("; ");
    return html`<span class="fault" title=${said}>${said}</span>`;
  }
  if (checked.before === checked.fact.object) return html`<${Tag}>is there already<//>`;
  if (checked.before) return html`<${Tag} tone="warn">changes<//> <del class="said">${checked.before}</del>`;
  if (checked.alike.length) return html`<${Tag} tone="warn">new, and looks like another<//>`;
  return html`<${Tag} tone="good">new<//>`;
}
