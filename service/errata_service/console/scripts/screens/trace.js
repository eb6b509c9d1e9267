// One trace: followed while it runs, then drawn: which state brings the answer back, by token and layer.
import { api, hasEnded } from "../api.js";
import { Confirm } from "../parts/dialog.js";
import { Followed, useJob } from "../parts/job.js";
import { HeatMap } from "../parts/plots.js";
import { Act, Fault, Status, Tag, Time, Title, Waits } from "../parts/words.js";
import { useFetched, useScope } from "../session.js";
import { html, useState } from "../ui.js";
import { share } from "../words.js";
import { shown } from "../parts/likeliest.js";
import { nameOfTrace } from "./traces.js";

const STAGES = [["trace", "trace"]];
const KINDS = { hidden: "the whole state", mlp: "MLP outputs", attention: "attention outputs" };
const SEVERED = { neither: "nothing", mlp: "MLPs", attention: "attentions" };

export function Trace({ path: [id] }) {
  const { job, problem, ...followed } = useJob("traces", id);
  const edits = useScope("edit");
  const [asks, setAsks] = useState(false);
  const done = job?.status === "succeeded";
  const { data: found, problem: unread } = useFetched((signal) => (done ? api.traceResult(id, signal) : Promise.resolve(null)), [id, done]);
  if (!job) return html`<div class="screen"><${Title}>A trace<//>${problem ? html`<${Fault} problem=${problem} />` : html`<${Waits} what="the trace" />`}</div>`;
  return html`<div class="screen">
    <${Title} actions=${!hasEnded(job) && html`<${Act} class="grave" ...${edits} onClick=${() => setAsks(true)}>Cancel …<//>`}>${nameOfTrace(job)}<//>
    <p class="row small"><${Status} of=${job.status} /> <span class="soft">${job.by ? `by ${job.by}` : "without a key"}, <${Time} at=${job.created_at} /></span> <code class="soft">${job.id}</code></p>
    <${Followed} job=${job} stages=${STAGES} ...${followed} />
    ${job.error && html`<${Fault} problem=${{ ...job.error, message: job.error.detail }} />`}<${Fault} problem=${unread} />
    ${job.result && html`<p>The answer has ${share(job.result.clean)} where nothing is disturbed, and ${share(job.result.corrupted)} with the subject corrupted.${job.result.layers && html` Layers to edit: <${Tag} tone="now">${job.result.layers.join(", ") || "none can be told"}<//>`}</p>`}
    ${found && (found.tokens ? html`<${OfPrompt} found=${found} />` : html`<${OfFacts} found=${found} />`)}
    ${asks && html`<${Confirm} title="Cancel this trace?" yes="Cancel it" grave asksWhy=${false} onClose=${() => setAsks(false)} onYes=${() => api.cancel("traces", id)}><p>What was found so far is lost.</p><//>`}
  </div>`;
}

/** The probability of the answer with one token's states restored, by token and layer. */
function OfPrompt({ found }) {
  const rows = found.tokens.map((token, at) => shown(token) + (found.subject_tokens.includes(at) ? "*" : ""));
  return html`<p class="small soft">* tokens of the subject. Each square: the probability of “${found.answer.trim()}” with that token’s state restored.</p>
    <div class="sides">${Object.entries(found.restored).map(([kind, values]) => html`<${HeatMap} key=${kind} title=${`Restored: ${KINDS[kind] ?? kind}`} rows=${rows} columns=${values[0].map((_, layer) => layer)} values=${values} least=${found.corrupted} />`)}
      <${Severed} found=${found.severed} least=${found.corrupted} title="Restored at the subject’s last token, with modules severed" /></div>`;
}

function Severed({ found, title, least }) {
  const names = Object.keys(found);
  const values = names.map((name) => found[name].mean ?? found[name]);
  return html`<${HeatMap} title=${title} rows=${names.map((name) => SEVERED[name] ?? name)} columns=${values[0].map((_, layer) => layer)} values=${values} least=${least} />`;
}

/** What restoring brings back on average over facts, by the token's place and layer. */
function OfFacts({ found }) {
  return html`<p class="small soft">Averages over ${found.facts.length} of ${found.num_given} facts, those that the model knows.</p>
    <div class="sides">${Object.entries(found.effects).map(([kind, places]) => {
      const rows = Object.keys(places);
      return rows.length > 0 && html`<${HeatMap} key=${kind} title=${`What is brought back by ${KINDS[kind] ?? kind}`} rows=${rows.map((row) => row.replaceAll("_", " "))} columns=${places[rows[0]].mean.map((_, layer) => layer)} values=${rows.map((row) => places[row].mean)} />`;
    })}<${Severed} found=${found.severed} title="Brought back at the subject’s last token, with modules severed" /></div>`;
}
