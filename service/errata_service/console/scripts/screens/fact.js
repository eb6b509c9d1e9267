// One fact: how it stands in a version, what measures it, and what became of it in all versions, who did that and why.
import { api } from "../api.js";
import { Confirm } from "../parts/dialog.js";
import { VersionLink, nameOf } from "../parts/versions.js";
import { Act, Fault, Time, Title, Waits } from "../parts/words.js";
import { go, to } from "../router.js";
import { useFetched, useScope } from "../session.js";
import { html, useState } from "../ui.js";
import { promptOf } from "../words.js";

export function Fact({ path: [id], query }) {
  const { data: fact, problem } = useFetched((signal) => api.fact(id, query.version, signal), [id, query.version]);
  const { data: notes } = useFetched((signal) => notesOf(fact?.history ?? [], signal), [fact?.history.map((event) => event.edit)]);
  const { may, why } = useScope("edit");
  const [asks, setAsks] = useState(false);
  if (!fact) return html`<div class="screen"><${Title}>A fact<//>${problem ? html`<${Fault} problem=${problem} />` : html`<${Waits} what="the fact" />`}</div>`;
  const prompt = promptOf(fact);
  const change = { subject: fact.subject, relation: fact.relation, object: fact.object };
  return html`<div class="screen">
    <${Title} actions=${html`
      <a class="button" href=${to("ask", { prompt })}>Ask it</a>
      <a class="button" href=${to("facts", "new", change)}>Change it …</a>
      <${Act} class="grave" may=${may && fact.held} why=${why} onClick=${() => setAsks(true)}>Withdraw it …<//>`}>
      ${prompt} <ins class="said">${fact.object}</ins>${fact.replaced && html`${" "}<del class="said">${fact.replaced}</del>`}
    <//>
    ${!fact.held && html`<p class="notice warn">${query.version ? nameOf(query.version) : "The active version"} does not hold this fact. It is shown as it was when a version last held it.</p>`}
    <dl class="pairs">
      <dt>Subject</dt><dd>${fact.subject}</dd>
      <dt>Relation</dt><dd>${fact.relation}</dd>
      <dt>Given</dt><dd>${fact.by ? `by ${fact.by}` : "without a key"}, <${Time} at=${fact.at} />, in <a href=${to("edits", fact.edit)}>${fact.edit}</a></dd>
      <${Prompts} name="Learnt after" texts=${fact.phrasings} />
      <${Prompts} name="Answers in chat" texts=${fact.questions} />
      <${Prompts} name="Measured by" texts=${fact.paraphrases} />
      <${Prompts} name="Must stay" texts=${fact.neighbors.map(({ prompt, object }) => `${prompt} ${object}`)} />
      ${Object.keys(fact.search).length > 0 && html`<dt>Searched with</dt><dd><code>${JSON.stringify(fact.search)}</code></dd>`}
    </dl>
    <section class="stack">
      <h2>History</h2>
      <table class="folds">
        <thead><tr><th>version</th><th>what</th><th>before</th><th>after</th><th>who</th><th>when</th><th>why</th></tr></thead>
        <tbody>${fact.history.map((event) => html`<tr key=${event.version}>
          <td><${VersionLink} of=${event.version} /></td><td>${event.change}</td>
          <td data-what="before">${event.before && html`<del class="said">${event.before}</del>`}</td>
          <td data-what="after">${event.after && html`<ins class="said">${event.after}</ins>`}</td>
          <td data-what="by">${event.by ?? ""}</td><td><${Time} at=${event.at} /></td>
          <td>${event.edit && html`<a href=${to("edits", event.edit)}>${notes?.[event.edit] || "the edit"}</a>`}</td></tr>`)}</tbody>
      </table>
    </section>
    ${asks && html`<${Confirm} title="Withdraw this fact?" yes="Withdraw" grave onClose=${() => setAsks(false)}
      onYes=${async (note) => go(to("edits", (await api.sendEdit({ retract: [fact.id], note: note || null })).id))}>
      <p>A new version is built of what serves without it. The model then says after <span class="said">${prompt}</span> what it said before.</p><//>`}
  </div>`;
}

const Prompts = ({ name, texts = [] }) => texts.length > 0 && html`<dt>${name}</dt><dd><ul>${texts.map((text) => html`<li class="said">${text}</li>`)}</ul></dd>`;

/** The notes of the edits in a history, which say why. */
async function notesOf(history, signal) {
  const ids = [...new Set(history.map((event) => event.edit).filter(Boolean))].slice(0, 20);
  const edits = await Promise.all(ids.map((id) => api.edit(id, signal).catch(() => null)));
  return Object.fromEntries(edits.filter(Boolean).map((edit) => [edit.id, edit.note]));
}
