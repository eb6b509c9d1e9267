// State: who serves what, who works, what waits, and how fast it goes, over the last minutes.
import { api } from "../api.js";
import { level, mean, rate, samples } from "../figures.js";
import { Spark } from "../parts/plots.js";
import { VersionLink } from "../parts/versions.js";
import { Fault, Tag, Time, Title, Waits } from "../parts/words.js";
import { to } from "../router.js";
import { useFetched, useScope, useSession } from "../session.js";
import { html } from "../ui.js";
import { bytes, count, figure, many, seconds } from "../words.js";

const LOOK_MS = 4000;

export function State() {
  const { ready, notReady } = useSession();
  const admin = useScope("admin");
  const { data: model, problem } = useFetched((signal) => api.model(signal), [ready?.version], { every: LOOK_MS });
  const { data: work, problem: away } = useFetched((signal) => api.workers(signal), [], { every: LOOK_MS });
  const { data: keys } = useFetched((signal) => (admin.may ? api.keys(signal) : Promise.resolve(null)), [admin.may]);
  return html`<div class="screen">
    <${Title}>State<//>
    <${Fault} problem=${problem ?? away} />
    ${notReady && html`<p class="notice warn">${notReady}</p>`}
    ${ready?.should_serve !== undefined && html`<p class="notice bad">Version ${ready.should_serve} is active and cannot be served: ${ready.reason}</p>`}
    <${Plots} />
    <div class="sides">
      <section class="sheet stack" aria-label="Replicas"><h2>Replicas</h2>
        ${model ? html`<table class="folds"><thead><tr><th>replica</th><th>serves</th><th class="number">loaded in</th><th class="number">put in place in</th></tr></thead>
          <tbody>${model.replicas.map((one) => html`<tr key=${one.id}><td><code>${one.id}</code></td><td data-what="serves"><${VersionLink} of=${one.version} /></td><td class="number" data-what="loaded in">${one.load_ms === null ? "–" : seconds(one.load_ms / 1000)}</td><td class="number" data-what="put in place in">${one.swap_ms === null ? "–" : `${figure(one.swap_ms)} ms`}</td></tr>`)}</tbody></table>` : html`<${Waits} what="the replicas" />`}
      </section>
      <section class="sheet stack" aria-label="Workers"><h2>Workers</h2>
        ${work ? html`${work.data.length === 0 && html`<p><${Tag} tone="bad">none<//> No edit is made until one is there.</p>`}
          ${work.data.length > 0 && html`<table class="folds"><thead><tr><th>worker</th><th>since</th><th>does</th></tr></thead><tbody>${work.data.map((one) => html`<tr key=${one.name}><td><code>${one.name}</code></td><td><${Time} at=${one.since} /></td><td>${one.job ? html`<a href=${to(placeOf(one.job), one.job)}>${one.job}</a>` : "waits"}</td></tr>`)}</tbody></table>`}
          <p class="small">Waiting: ${many(work.waiting_edits, "edit")}, ${many(work.waiting_shards, "shard")}, ${many(work.waiting_measurements, "measurement")}.</p>` : html`<${Waits} what="the workers" />`}
      </section>
      <section class="sheet stack" aria-label="Model"><h2>Model</h2>
        ${model && html`<dl class="pairs"><dt>Base</dt><dd>${model.name} (${model.architecture})</dd><dt>Edited in</dt><dd>${model.layers.length === 1 ? "layer" : "layers"} ${model.layers.join(", ")}</dd><dt>Chat</dt><dd>${model.has_chat_template ? "by its own template" : "it has no chat template"}</dd><dt>Methods</dt><dd>${Object.keys(model.methods).join(", ")}</dd><dt>SHA-256</dt><dd><code>${model.digest.slice(0, 16)}…</code></dd></dl>`}
      </section>
      <section class="sheet stack" aria-label="Keys"><h2>Keys</h2>
        ${!admin.may ? html`<p class="soft">${admin.why}</p>` : keys?.data.length === 0 ? html`<p class="soft">This service asks nobody for a key. <code>errata new-key</code> makes one.</p>`
          : html`<table><thead><tr><th>name</th><th>may</th></tr></thead><tbody>${keys?.data.map((one) => html`<tr key=${one.name}><th scope="row">${one.name}</th><td>${one.scopes.join(", ")}</td></tr>`)}</tbody></table>`}
      </section>
    </div>
  </div>`;
}

const placeOf = (job) => ({ edit: "edits", eval: "evaluations", trace: "traces" })[job.split("_")[0]];

function Plots() {
  const { beat } = useSession();
  if (samples.length < 2) return html`<p class="soft" role="status" key=${beat}>The figures begin with this page; the first come in a few seconds.</p>`;
  const minutes = Math.max(1, Math.round((samples.at(-1).at - samples[0].at) / 60_000));
  const over = `the last ${many(minutes, "minute")}`;
  const last = (points) => points.findLast((point) => point !== null) ?? null;
  /** @type {[string, (number|null)[], (value: number) => string][]} */
  const plots = [
    ["Tokens a second", rate("errata_generated_tokens_total"), (value) => figure(value, 2)],
    ["Time to first token", mean("errata_time_to_first_token_seconds"), seconds],
    ["Between two tokens", mean("errata_inter_token_seconds"), seconds],
    ["Prompts waiting and running", level("errata_completions_running").map((value, at) => value + level("errata_completions_waiting")[at]), count],
    ["Requests a second", rate("errata_http_requests_total"), (value) => figure(value, 2)],
    ["Memory of the service", level("process_resident_memory_bytes"), bytes],
  ];
  return html`<div class="sparks">${plots.map(([name, points, said]) => html`<${Spark} key=${name} name=${name} points=${points} said=${last(points) === null ? "–" : said(last(points))} what=${over} />`)}</div>`;
}
