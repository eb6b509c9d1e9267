// Evaluations: how versions answer about records; asked for by a form, and listed.
import { api } from "../api.js";
import { VersionLink, VersionPicker, versionOf } from "../parts/versions.js";
import { Act, Empty, Fault, Field, Status, Time, Title, Waits } from "../parts/words.js";
import { recordsOf } from "../records.js";
import { go, to } from "../router.js";
import { useAction, useFetched, useScope } from "../session.js";
import { html, useState } from "../ui.js";
import { many, metric } from "../words.js";

const SHOWN = 50;

export function Evaluations({ query }) {
  const { data, problem, waits } = useFetched((signal) => api.evaluations({ limit: SHOWN }, signal), [], { every: 10_000 });
  return html`<div class="screen">
    <${Title}>Evaluations<//>
    <${New} version=${query.version ?? "active"} />
    <${Fault} problem=${problem} />
    ${!data && waits && html`<${Waits} what="the evaluations" />`}
    ${data?.data.length === 0 && html`<${Empty} title="No evaluations yet.">An evaluation asks a version about records of CounterFact or zsRE, or about its own facts, their paraphrases and neighbours, and says how sure the figures are.<//>`}
    ${data?.data.length > 0 && html`<table class="folds"><thead><tr><th>evaluation</th><th>status</th><th>version</th><th>records</th><th class="number">efficacy</th><th class="number">neighbours stay</th><th>asked</th></tr></thead>
      <tbody>${data.data.map((one) => html`<tr key=${one.id}><th scope="row"><a href=${to("evaluations", one.id)}>${one.note || (one.own_facts ? "its own facts" : "records")}</a></th><td><${Status} of=${one.status} /></td><td><${VersionLink} of=${one.version} /></td>
        <td>${many(one.records, one.own_facts ? "fact" : "record")}</td><td class="number" data-what="efficacy">${metric("efficacy", one.result?.estimates.efficacy?.mean)}</td><td class="number" data-what="neighbours stay">${metric("specificity", one.result?.estimates.specificity?.mean)}</td><td class="small soft"><${Time} at=${one.created_at} short />${one.by && ` by ${one.by}`}</td></tr>`)}</tbody></table>`}
  </div>`;
}

function New({ version }) {
  const { may, why } = useScope("edit");
  const [options, setOptions] = useState({ version: String(version), own: true, prose: true, generation: false, honest: false, note: "" });
  const [records, setRecords] = useState(/** @type {any[]} */ ([]));
  const [fault, setFault] = useState("");
  const sending = useAction(api.evaluate);
  const set = (changes) => setOptions({ ...options, ...changes });
  const read = async ([file]) => {
    const found = recordsOf(await file.text());
    const bad = found.find((one) => one.fault);
    setFault(bad ? `line ${bad.line} ${bad.fault}` : "");
    setRecords(bad ? [] : found.map((one) => one.record));
  };
  const submit = async (event) => {
    event.preventDefault();
    const { own, note, version, ...rest } = options;
    const evaluation = await sending.run({ ...rest, version: versionOf(version), note: note.trim() || null, records: own ? null : records });
    if (evaluation) go(to("evaluations", evaluation.id));
  };
  const box = (name, said) => html`<label class="row"><input type="checkbox" checked=${options[name]} onChange=${(event) => set({ [name]: event.target.checked })} /> ${said}</label>`;
  return html`<form class="sheet stack" aria-label="A new evaluation" onSubmit=${submit}>
    <div class="row end">
      <${VersionPicker} label="Version" value=${options.version} onChange=${(name) => set({ version: name })} />
      <${Field} label="Note"><input value=${options.note} onInput=${(event) => set({ note: event.target.value })} maxlength="2000" /><//>
      <${Act} type="submit" class="first" may=${may} why=${why} busy=${sending.busy} disabled=${!options.own && !records.length}>${sending.busy ? "Asking …" : "Evaluate"}<//>
    </div>
    <div class="row">
      <label class="row"><input type="radio" name="records" checked=${options.own} onChange=${() => set({ own: true })} /> about its own facts</label>
      <label class="row"><input type="radio" name="records" checked=${!options.own} onChange=${() => set({ own: false })} /> about records of CounterFact or zsRE</label>
      ${!options.own && html`<label class="row"><span class="hidden-text">A file of records</span><input type="file" accept=".json,.jsonl" onChange=${(event) => read(event.target.files)} /></label>${records.length > 0 && html`<span class="small">${many(records.length, "record")}</span>`}`}
    </div>
    <div class="row">${box("prose", "also running text (KL and perplexity)")} ${box("generation", "also generated texts (slow)")} ${box("honest", "also as critics ask (slow)")}</div>
    ${fault && html`<p class="fault" role="alert">${fault}</p>`}<${Fault} problem=${sending.problem} />
  </form>`;
}
