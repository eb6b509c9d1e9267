// Two versions held against each other: their facts, their figures, and what they answer to the probes.
import { api } from "../api.js";
import { VersionPicker, nameOf } from "../parts/versions.js";
import { Empty, Fault, Tag, Title, Waits } from "../parts/words.js";
import { answersOf } from "../probes.js";
import { go, to } from "../router.js";
import { useFetched } from "../session.js";
import { html } from "../ui.js";
import { METRICS, many, metric, promptOf } from "../words.js";

const MOST_CHANGES = 200;
const MOST_PROBES = 100;

export function Compare({ query }) {
  const { a = "base", b = "active" } = query;
  const set = (changes) => go(to("versions", "compare", { a, b, ...changes }), { replace: true });
  const { data: diff, problem } = useFetched((signal) => api.diff(a, b, { limit: MOST_CHANGES }, signal), [a, b]);
  const { data: both } = useFetched((signal) => Promise.all([api.version(a, signal), api.version(b, signal)]), [a, b]);
  const { data: probes } = useFetched((signal) => compared(a, b, signal), [a, b]);
  const rows = [...new Set((both ?? []).flatMap((version) => Object.keys(version.metrics)))].filter((name) => both.some((version) => typeof version.metrics[name] === "number"));
  return html`<div class="screen">
    <${Title} actions=${html`<a class="button" href=${to("ask", { a, b })}>Ask both</a>`}>${nameOf(a, true)} and ${nameOf(b)}<//>
    <div class="row end">
      <${VersionPicker} label="From" value=${a} onChange=${(name) => set({ a: name })} />
      <button type="button" onClick=${() => set({ a: b, b: a })}>Swap</button>
      <${VersionPicker} label="To" value=${b} onChange=${(name) => set({ b: name })} />
    </div>
    <${Fault} problem=${problem} />
    <section class="stack"><h2>Facts ${diff && html`<span class="soft">· ${diff.added} come, ${diff.changed} change, ${diff.retracted} go</span>`}</h2>
      ${!diff && !problem && html`<${Waits} what="what is other" />`}
      ${diff?.data.length === 0 && html`<p class="soft">They hold the same facts.</p>`}
      ${diff?.data.length > 0 && html`<table class="folds"><thead><tr><th>prompt</th><th>${nameOf(a)}</th><th>${nameOf(b)}</th></tr></thead>
        <tbody>${diff.data.map((change) => html`<tr key=${change.id}><td><a class="said" href=${to("facts", change.id, { version: change.after ? b : a })}>${promptOf(change)}</a></td><td data-what=${nameOf(a)}>${change.before ? html`<del class="said">${change.before}</del>` : html`<span class="soft">–</span>`}</td><td data-what=${nameOf(b)}>${change.after ? html`<ins class="said">${change.after}</ins>` : html`<span class="soft">–</span>`}</td></tr>`)}</tbody></table>`}
      ${diff?.has_more && html`<p class="small soft">The first ${MOST_CHANGES} are shown.</p>`}
    </section>
    ${rows.length > 0 && html`<section class="stack"><h2>Figures</h2><table><thead><tr><th>figure</th><th class="number">${nameOf(a)}</th><th class="number">${nameOf(b)}</th></tr></thead>
      <tbody>${rows.map((name) => html`<tr key=${name}><th scope="row">${METRICS[name] ?? name}</th>${both.map((version) => html`<td class="number">${metric(name, version.metrics[name])}</td>`)}</tr>`)}</tbody></table></section>`}
    <section class="stack"><h2>Probes</h2>
      ${probes?.length === 0 && html`<${Empty} title="No probes yet.">A probe is a question with the answer that every new version must give. <a href=${to("probes")}>Put some</a>.<//>`}
      ${probes?.length > 0 && html`<table class="folds"><thead><tr><th>probe</th><th>answer</th><th>${nameOf(a)}</th><th>${nameOf(b)}</th></tr></thead>
        <tbody>${probes.map(({ probe, said }) => html`<tr key=${probe.number}><td class="said">${probe.prompt}</td><td class="said">${probe.answer}</td>${said.map((one) => html`<td>${one.passes ? html`<${Tag} tone="good">says it<//>` : html`<${Tag} tone="bad">fails<//> <del class="said">${one.text}</del>`}</td>`)}</tr>`)}</tbody></table>
        <p class="small soft">${many(probes.length, "probe")}</p>`}
    </section>
  </div>`;
}

async function compared(a, b, signal) {
  const { data } = await api.probes({ limit: MOST_PROBES }, signal);
  if (!data.length) return [];
  const [left, right] = await Promise.all([a, b].map((version) => answersOf(version, data, signal)));
  return data.map((probe, at) => ({ probe, said: [left[at], right[at]] }));
}
