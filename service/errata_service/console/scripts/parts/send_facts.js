// The form that sends what was gathered as an edit: why, on which version, how hard, within which bounds.
import { api } from "../api.js";
import { go, to } from "../router.js";
import { useAction, useFetched, useScope } from "../session.js";
import { html, useState } from "../ui.js";
import { many, promptOf } from "../words.js";
import { VersionPicker, versionOf } from "./versions.js";
import { Act, Fault, Field } from "./words.js";

const BOUNDS = [["max_drift", "Drift at most (nats)"], ["min_specificity", "Neighbours that stay, at least (0 to 1)"], ["max_perplexity_rise", "Rise of perplexity at most (0.1 is 10 %)"]];

/** @typedef {{edit: any, facts: any[], withdrawn: any[]}} Earlier an edit whose facts are sent again */

/** Whether nothing is wrong with a record, as far as is known. */
export const isGood = (entry) => !entry.fault && !entry.checked?.errors.length;

/** What the form begins with. */
function optionsOf(earlier) {
  const { note, tries, partial, method, gate } = earlier?.edit ?? {};
  const bounds = Object.fromEntries(BOUNDS.map(([name]) => [name, String(gate?.[name] ?? "")]));
  return { note: note ?? "", activate: true, tries: tries ?? 3, partial: partial ?? false, dry_run: false, method: method ?? "memit", base: "active", gate: bounds };
}

/**
 * @param {{entries: any[], earlier: Earlier|null, onSent: () => void}} given what was gathered, and the edit that it is
 *   sent again of, whose options the form begins with
 */
export function Send({ entries, earlier, onSent }) {
  const { may, why } = useScope("edit");
  const { data: model } = useFetched((signal) => api.model(signal), []);
  const [options, setOptions] = useState(() => optionsOf(earlier));
  const [withdrawn, setWithdrawn] = useState(earlier?.withdrawn ?? []);
  const sending = useAction(api.sendEdit);
  const good = entries.filter((entry) => isGood(entry) && entry.checked);
  const bad = entries.length - good.length;
  const set = (changes) => setOptions({ ...options, ...changes });
  const submit = async (event) => {
    event.preventDefault();
    const { base, note, gate: bounds, ...rest } = options;
    const gate = Object.fromEntries(Object.entries(bounds).filter(([, bound]) => bound !== "").map(([name, bound]) => [name, Number(bound)]));
    const edit = await sending.run({ ...rest, gate, note: note.trim() || null, ...(base !== "active" && { base: versionOf(base) }), facts: good.map((entry) => entry.checked.fact), ...(withdrawn.length && { retract: withdrawn.map((fact) => fact.id) }) });
    if (!edit) return;
    onSent();
    go(to("edits", edit.id));
  };
  const box = (name, said) => html`<label class="row"><input type="checkbox" checked=${options[name]} onChange=${(event) => set({ [name]: event.target.checked })} /> ${said}</label>`;
  return html`<form class="sheet stack" aria-label="Send them" onSubmit=${submit}>
    <${Field} label="Why?" hint="Kept with each of the facts, for whoever looks later."><input maxlength="2000" value=${options.note} onInput=${(event) => set({ note: event.target.value })} /><//>
    ${box("activate", "Serve it as soon as it has passed its gate")}
    ${withdrawn.length > 0 && html`<p>It also withdraws ${many(withdrawn.length, "fact")}, such as <del class="said">${promptOf(withdrawn[0])} ${withdrawn[0].before}</del>. <button type="button" class="plain" onClick=${() => setWithdrawn([])}>Withdraw none</button></p>`}
    <details open=${earlier !== null}>
      <summary>More</summary>
      <div class="stack">
        <div class="row end">
          <${Field} label="Method"><select value=${options.method} onChange=${(event) => set({ method: event.target.value })}>${Object.keys(model?.methods ?? { memit: 0 }).map((name) => html`<option value=${name}>${name}</option>`)}</select><//>
          <${Field} label="Builds at most"><input type="number" min="1" max="5" value=${options.tries} onInput=${(event) => set({ tries: Number(event.target.value) || 1 })} /><//>
          <${VersionPicker} label="Built on" value=${options.base} onChange=${(base) => set({ base })} />
        </div>
        <fieldset><legend>Bounds of its gate, where they are not to be the service’s</legend><div class="row end">${BOUNDS.map(([name, said]) => html`<${Field} key=${name} label=${said}><input type="number" min="0" step="any" value=${options.gate[name] ?? ""} onInput=${(event) => set({ gate: { ...options.gate, [name]: event.target.value } })} /><//>`)}</div></fieldset>
        ${box("partial", "Serve it though some facts are not said")}
        ${box("dry_run", "Only measure it: make no version")}
      </div>
    </details>
    <${Fault} problem=${sending.problem} />
    <div class="row">
      <${Act} type="submit" class="first" may=${may} why=${why} busy=${sending.busy} disabled=${(!good.length && !withdrawn.length) || bad > 0}>${sending.busy ? "Sending …" : good.length || !withdrawn.length ? `Send ${many(good.length, "fact")}` : `Withdraw ${many(withdrawn.length, "fact")}`}<//>
      ${bad > 0 && html`<span class="fault">${many(bad, "record")} ${bad === 1 ? "is" : "are"} at fault or not looked at yet.</span>`}
      ${!may && html`<span class="fault">${why}</span>`}
    </div>
  </form>`;
}
