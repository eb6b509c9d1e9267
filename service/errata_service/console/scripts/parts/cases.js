// The single cases of an evaluation: what each was asked, what should be said, and what the version says.
import { api } from "../api.js";
import { answersOf } from "../probes.js";
import { useFetched } from "../session.js";
import { html, useState } from "../ui.js";
import { count, many, share } from "../words.js";
import { Fault, Switch, Tag, Waits } from "./words.js";

const FETCHED_AT_ONCE = 500;
const PART = 50;

export function Cases({ evaluation }) {
  const [wanted, setWanted] = useState(evaluation.records <= FETCHED_AT_ONCE);
  const [which, setWhich] = useState("");
  const [most, setMost] = useState(PART);
  const { data, problem, waits } = useFetched((signal) => (wanted ? api.cases(evaluation.id, signal) : Promise.resolve(null)), [evaluation.id, wanted]);
  const found = (data ?? []).filter((one) => !which || (which === "unsaid" ? !one.rewrite.is_said : one.neighbors.some((asked) => !wins(asked))));
  return html`<section class="stack" aria-label="Cases">
    <div class="row apart"><h2>Case by case</h2>
      ${data && html`<${Switch} label="Which cases" value=${which} onChange=${(name) => (setWhich(name), setMost(PART))} options=${[["", "all"], ["unsaid", "not said"], ["moved", "neighbours moved"]]} />`}</div>
    ${!wanted && html`<div><button type="button" onClick=${() => setWanted(true)}>Fetch its ${count(evaluation.records)} cases</button></div>`}
    <${Fault} problem=${problem} />
    ${wanted && !data && waits && html`<${Waits} what="the cases" />`}
    ${data && html`<p class="small soft" role="status">${many(found.length, "case")}</p>`}
    ${found.length > 0 && html`<ul class="cases">${found.slice(0, most).map((one) => html`<${Case} key=${one.index} one=${one} version=${evaluation.version} />`)}</ul>`}
    ${found.length > most && html`<div><button type="button" onClick=${() => setMost(most + PART)}>Show ${count(Math.min(PART, found.length - most))} more</button></div>`}
  </section>`;
}

/** Whether what is expected is likelier than what it is held against; without that, whether it is said. */
const wins = (asked) => (asked.nll_other === null ? asked.is_said : asked.nll_expected < asked.nll_other);

/** The geometric mean over an object's tokens. */
const likely = (nll) => (nll === null ? null : Math.exp(-nll));

/** One case, which opens to all that it was asked; only then the version is asked what it says. */
function Case({ one, version }) {
  const [open, setOpen] = useState(false);
  const { rewrite, paraphrases, neighbors, texts } = one;
  const kinds = [["fact", [rewrite]], ["paraphrase", paraphrases], ["neighbour", neighbors]];
  const rows = kinds.flatMap(([kind, asked]) => asked.map((asked) => ({ kind, ...asked })));
  const followed = paraphrases.filter((asked) => asked.is_said).length;
  const held = neighbors.filter(wins).length;
  return html`<li><details onToggle=${(event) => setOpen(event.currentTarget.open)}>
    <summary><span class="said">${rewrite.prompt} <ins class="said">${rewrite.expected}</ins></span> ${rewrite.is_said ? html`<${Tag} tone="good">says it<//>` : html`<${Tag} tone="bad">does not<//>`}
      ${" "}<span class="small soft">${[paraphrases.length > 0 && `paraphrases ${followed} of ${paraphrases.length}`, neighbors.length > 0 && `neighbours ${held} of ${neighbors.length}`].filter(Boolean).join(" · ")}</span></summary>
    ${open && html`<${Asked} rows=${rows} version=${version} />`}
    ${open && texts.length > 0 && html`<h3>What it writes</h3>${texts.map((text) => html`<p class="said">${text}</p>`)}`}
  </details></li>`;
}

function Asked({ rows, version }) {
  const { data: said, problem } = useFetched((signal) => answersOf(version, rows.map(({ prompt, expected }) => ({ prompt, answer: expected })), signal), [version, rows.map((row) => row.prompt)]);
  return html`<table class="folds">
    <thead><tr><th>asked</th><th>should say</th><th class="number">its probability</th><th>says</th><th>held against</th><th class="number">its probability</th></tr></thead>
    <tbody>${rows.map((row, at) => html`<tr key=${at}>
      <td><span class="small soft">${row.kind}</span> <span class="said">${row.prompt}</span></td><td data-what="should say"><ins class="said">${row.expected}</ins></td>
      <td class="number" data-what="its probability">${share(likely(row.nll_expected))}</td>
      <td data-what="says">${row.is_said ? html`<${Tag} tone="good">says it<//>` : html`<${Tag} tone="bad">does not<//> ${said ? html`<del class="said">${said[at].text}</del>` : problem ? "" : html`<span class="soft">asking …</span>`}`}</td>
      <td data-what="held against" class="said">${row.other}</td><td class="number" data-what="its probability">${share(likely(row.nll_other))}</td></tr>`)}</tbody>
  </table>${problem && html`<p class="small soft">What it says instead cannot be asked: ${problem.message}</p>`}`;
}
