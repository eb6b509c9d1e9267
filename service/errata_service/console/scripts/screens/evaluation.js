// One evaluation: followed while it runs, then its figures with their intervals.
import { api, hasEnded } from "../api.js";
import { Cases } from "../parts/cases.js";
import { Confirm } from "../parts/dialog.js";
import { Followed, useJob } from "../parts/job.js";
import { Interval } from "../parts/plots.js";
import { VersionLink } from "../parts/versions.js";
import { Act, Fault, Status, Time, Title, Waits } from "../parts/words.js";
import { useScope } from "../session.js";
import { html, useState } from "../ui.js";
import { METRICS, figure, many, metric } from "../words.js";

const STAGES = [["evaluate", "measure"]];

export function Evaluation({ path: [id] }) {
  const { job, problem, ...followed } = useJob("evaluations", id);
  const edits = useScope("edit");
  const [asks, setAsks] = useState(false);
  if (!job) return html`<div class="screen"><${Title}>An evaluation<//>${problem ? html`<${Fault} problem=${problem} />` : html`<${Waits} what="the evaluation" />`}</div>`;
  return html`<div class="screen">
    <${Title} actions=${!hasEnded(job) && html`<${Act} class="grave" ...${edits} onClick=${() => setAsks(true)}>Cancel …<//>`}>${job.note || "An evaluation"}<//>
    <p class="row small"><${Status} of=${job.status} /> <span>of <${VersionLink} of=${job.version} /> about ${job.own_facts ? `its ${many(job.records, "own fact")}` : many(job.records, "record")}</span> <span class="soft">${job.by ? `by ${job.by}` : "without a key"}, <${Time} at=${job.created_at} /></span> <code class="soft">${job.id}</code></p>
    <${Followed} job=${job} stages=${STAGES} ...${followed} />
    ${job.error && html`<${Fault} problem=${{ ...job.error, message: job.error.detail }} />`}
    ${job.result && html`<${Figures} result=${job.result} /><${Cases} evaluation=${job} />`}
    ${asks && html`<${Confirm} title="Cancel this evaluation?" yes="Cancel it" grave asksWhy=${false} onClose=${() => setAsks(false)} onYes=${() => api.cancel("evaluations", id)}><p>What was measured so far is lost.</p><//>`}
  </div>`;
}

function Figures({ result }) {
  const estimates = Object.entries(result.estimates);
  const most = (name, one) => (/fluency|kl|drift/.test(name) ? Math.max(one.high ?? 0, one.mean ?? 0) * 1.1 || 1 : 1);
  return html`<section class="sheet stack"><h2>Figures, with the interval that holds 95 % of the time</h2>
    <table class="figures"><thead><tr><th>figure</th><th class="number">mean</th><th class="number">interval</th><th class="drawn"><span class="hidden-text">drawn</span></th><th class="number">of</th></tr></thead>
      <tbody>${estimates.map(([name, one]) => html`<tr key=${name}><th scope="row">${METRICS[name] ?? name.replaceAll("_", " ")}</th><td class="number">${metric(name, one.mean)}</td>
        <td class="number">${one.low === null ? "–" : `${metric(name, one.low)} to ${metric(name, one.high)}`}</td><td class="drawn"><${Interval} mean=${one.mean} low=${one.low} high=${one.high} most=${most(name, one)} /></td><td class="number">${one.count}</td></tr>`)}</tbody></table>
    <dl class="pairs numbers">${result.drift !== null && html`<dt>drift</dt><dd>${figure(result.drift)} nats</dd>`}
      ${result.prose && html`<dt>running text, KL to the base</dt><dd>${figure(result.prose.kl.mean)} nats</dd><dt>perplexity</dt><dd>${figure(result.prose.perplexity_before)} before, ${figure(result.prose.perplexity_after)} after</dd>`}</dl>
  </section>`;
}
