// An edit as it runs, and after: its stages, its log, what it changed, its gate, and how each fact took.
import { api, hasEnded } from "../api.js";
import { Confirm } from "../parts/dialog.js";
import { Followed, useJob } from "../parts/job.js";
import { VersionLink } from "../parts/versions.js";
import { Act, Fault, Field, Status, Switch, Tag, Time, Title, Waits } from "../parts/words.js";
import { go, to } from "../router.js";
import { useFetched, useScope, useSession } from "../session.js";
import { html, useState } from "../ui.js";
import { METRICS, many, metric, promptOf, share } from "../words.js";
import { kindOf, summary } from "./edits.js";

const STAGES = [["targets", "find targets"], ["spread", "spread them"], ["evaluate", "measure"], ["publish", "publish"]];
const MOST_FACTS = 1000;

export function Edit({ path: [id] }) {
  const { job: edit, problem, progress, log, isLost } = useJob("edits", id);
  const { ready } = useSession();
  const [asks, setAsks] = useState("");
  const edits = useScope("edit");
  const admin = useScope("admin");
  if (!edit) return html`<div class="screen"><${Title}>An edit<//>${problem ? html`<${Fault} problem=${problem} />` : html`<${Waits} what="the edit" />`}</div>`;
  const ended = hasEnded(edit);
  const isRejected = edit.status === "rejected";
  const serves = edit.version !== null && edit.version === ready?.version;
  const canRetry = ended && !edit.rebuild && edit.version !== null && edit.not_taken > 0;
  return html`<div class="screen">
    <${Title} actions=${html`
      ${!ended && html`<${Act} class="grave" ...${edits} onClick=${() => setAsks("cancel")}>Cancel …<//>`}
      ${canRetry && html`<${Act} class="first" ...${edits} onClick=${() => setAsks("retry")}>Try again, harder …<//>`}
      ${isRejected && !edit.rebuild && edit.version !== null && !serves && html`<a class="button" href=${to("facts", "new", { again: edit.id })}>Change and send again …</a>`}
      ${isRejected && edit.version !== null && !serves && html`<${Act} ...${admin} onClick=${() => setAsks("activate")}>Serve it all the same …<//>`}`}>
      ${edit.note || summary(edit)}
    <//>
    <p class="row small"><${Status} of=${edit.status} /> <span>${summary(edit)}</span> <span class="soft">${kindOf(edit)}</span>
      ${edit.version !== null && html`<span>→ <${VersionLink} of=${edit.version} /></span>`} <span class="soft">on</span> <${VersionLink} of=${edit.base ?? 0} />
      <span class="soft">${edit.by ? `by ${edit.by}` : "without a key"}, <${Time} at=${edit.created_at} /></span> <code class="soft">${edit.id}</code>
      ${edit.retries && html`<a href=${to("edits", edit.retries)}>another try of this one</a>`}</p>
    <${Followed} job=${edit} stages=${STAGES} progress=${progress} log=${log} isLost=${isLost} />
    ${edit.error && html`<div class=${`notice ${isRejected ? "warn" : "bad"} stack`} role="alert">
      <p><strong>${!isRejected ? edit.error.title : serves ? "It was rejected, and serves all the same" : "It does not serve"}.</strong> ${edit.error.detail}</p>
      ${isRejected && !serves && edit.not_taken === 0 && html`<p class="small">All of its facts are said, so that searching harder would not help. Change what it puts in, or the bound that it misses, and send it again; or serve it all the same.</p>`}
      ${edit.error.errors?.length > 0 && html`<ul>${edit.error.errors.map((error) => html`<li class="small"><code>${error.pointer}</code> ${error.detail}</li>`)}</ul>`}</div>`}
    <div class="sides">
      ${edit.gate && html`<${Gate} edit=${edit} />`}
      <${Changes} edit=${edit} />
    </div>
    ${ended && edit.metrics && html`<${Outcomes} edit=${edit} />`}
    ${asks === "cancel" && html`<${Confirm} title="Cancel this edit?" yes="Cancel it" grave asksWhy=${false} onClose=${() => setAsks("")} onYes=${() => api.cancel("edits", id)}><p>${edit.status === "queued" ? "It ends at once." : "It ends at its next step."} No version comes of it, and what serves goes on serving.</p><//>`}
    ${asks === "activate" && html`<${Confirm} title=${`Let version ${edit.version} serve?`} yes="Serve it" grave onClose=${() => setAsks("")} onYes=${async (why) => (await api.activate(edit.version, why), go(to("versions", edit.version)))}>
      <p>It was rejected: ${edit.error?.detail}</p><p>From then on everyone who names no version gets its answers.</p><//>`}
    ${asks === "retry" && html`<${Retry} edit=${edit} onClose=${() => setAsks("")} />`}
  </div>`;
}

/** The bounds that hold for the version, with what was measured, and the prompts that miss them. */
function Gate({ edit }) {
  const misses = new Map((edit.error?.misses ?? []).map((miss) => [miss.figure, miss]));
  const bounds = Object.entries(edit.gate).filter(([, bound]) => bound !== null);
  const probes = edit.error?.misses?.find((miss) => !bounds.some(([name]) => figureOf(name) === miss.figure));
  return html`<section class="sheet stack" aria-label="Gate">
    <h2>Gate</h2>
    <table class="figures">
      <thead><tr><th>figure</th><th class="number">measured</th><th class="number">asked for</th><th><span class="hidden-text">whether it holds</span></th></tr></thead>
      <tbody>${bounds.map(([name, bound]) => {
        const figure = figureOf(name);
        const miss = misses.get(figure);
        const value = miss ? miss.value : edit.metrics?.[figure];
        return html`<tr key=${name}><th scope="row">${METRICS[figure] ?? figure}</th><td class="number">${metric(figure, value)}</td>
          <td class="number">${name.startsWith("min") ? "at least" : "at most"} ${metric(figure, bound)}</td>
          <td>${miss ? html`<${Tag} tone="bad">missed<//>` : edit.metrics && value !== null && value !== undefined ? html`<${Tag} tone="good">holds<//>` : ""}</td></tr>`;
      })}</tbody>
    </table>
    ${probes && html`<p><${Tag} tone="bad">probes failed<//></p>`}
    ${[...misses.values()].filter((miss) => miss.prompts?.length).map((miss) => html`<div class="stack" key=${miss.figure}>
      <h3>${METRICS[miss.figure] ?? miss.figure}: what misses it</h3>
      <ul>${miss.prompts.slice(0, 12).map((one) => html`<li><span class="said">${one.prompt}</span> <ins class="said">${one.expected}</ins>${one.said && html` <span class="small soft">but says</span> <del class="said">${one.said}</del>`}</li>`)}</ul></div>`)}
  </section>`;
}

const figureOf = (bound) => bound.replace(/^(min|max)_/, "");

function Changes({ edit }) {
  return html`<section class="sheet stack" aria-label="What it changes">
    <h2>What it changes</h2>
    <p>${summary(edit)}${edit.version !== null && edit.metrics && html` · <a href=${to("versions", "compare", { a: edit.base, b: edit.version })}>compare with ${edit.base === 0 ? "base" : `version ${edit.base}`}</a>`}</p>
    ${edit.changes.length > 0 && html`<ul>${edit.changes.map((change) => html`<li key=${change.id}><a class="said" href=${to("facts", change.id)}>${promptOf(change)}</a> ${change.before && html`<del class="said">${change.before}</del> `}${change.after && html`<ins class="said">${change.after}</ins>`}</li>`)}</ul>`}
    ${edit.duplicates.length > 0 && html`<h3>Probably the same</h3><ul>${edit.duplicates.map((group) => html`<li class="said">${group.map((fact) => `${fact.subject} ${fact.relation} ${fact.object}`).join(" · ")}</li>`)}</ul>`}
    ${edit.metrics && html`<dl class="pairs numbers">${Object.entries(edit.metrics).filter(([, value]) => value !== null).map(([name, value]) => html`<dt>${METRICS[name] ?? name}</dt><dd>${metric(name, value)}</dd>`)}</dl>`}
  </section>`;
}

/** Each fact of the version before and after. */
function Outcomes({ edit }) {
  const [which, setWhich] = useState(edit.not_taken > 0 ? "false" : "");
  const { data, problem, waits } = useFetched((signal) => api.factsOfEdit(edit.id, { took: which, limit: MOST_FACTS }, signal), [edit.id, which, edit.status]);
  if (problem?.status === 409) return null;
  const rows = data?.data ?? [];
  const hasChat = rows.some((fact) => fact.said_in_chat !== undefined);
  return html`<section class="stack">
    <div class="row apart"><h2>How its facts took</h2><${Switch} label="Which facts" value=${which} onChange=${setWhich} options=${[["", "all"], ["true", "took"], ["false", "did not"]]} /></div>
    <${Fault} problem=${problem} />
    ${!data && waits && html`<${Waits} what="the facts" />`}
    ${data && rows.length === 0 && html`<p class="soft">${which === "false" ? "All of its facts are said." : "None."}</p>`}
    ${rows.length > 0 && html`<table class="folds">
      <thead><tr><th>fact</th><th>took</th><th class="number">before</th><th class="number">after</th><th class="number">paraphrases</th>${hasChat && html`<th class="number">in chat</th>`}<th>neighbours lost</th></tr></thead>
      <tbody>${rows.map((fact) => html`<tr key=${fact.id}>
        <td><a class="said" href=${to("facts", fact.id)}>${promptOf(fact)}</a> <ins class="said">${fact.object}</ins></td>
        <td>${fact.took ? html`<${Tag} tone="good">took<//>` : html`<${Tag} tone="bad">${fact.lost ? "lost" : "not said"}<//>`}${fact.known && html` <${Tag}>known before<//>`}</td>
        <td class="number" data-what="before">${share(fact.probability_before)}</td><td class="number" data-what="after">${share(fact.probability_after)}</td>
        <td class="number" data-what="paraphrases">${share(fact.paraphrases_followed)}</td>${hasChat && html`<td class="number" data-what="in chat">${share(fact.said_in_chat)}</td>`}
        <td>${fact.neighbors_lost.length > 0 && html`<ul>${fact.neighbors_lost.map((neighbor) => html`<li class="said">${neighbor.prompt} <del class="said">${neighbor.object}</del></li>`)}</ul>`}</td></tr>`)}</tbody>
    </table>`}
    ${data?.has_more && html`<p class="small soft">The first ${MOST_FACTS} are shown.</p>`}
  </section>`;
}

/** Another try, harder than the last, or as one says oneself. */
function Retry({ edit, onClose }) {
  const [options, setOptions] = useState({ num_steps: "", clamp: "", partial: false });
  const set = (changes) => setOptions({ ...options, ...changes });
  const retry = async (note) => {
    const hparams = Object.fromEntries(["num_steps", "clamp"].filter((name) => options[name] !== "").map((name) => [name, Number(options[name])]));
    const { id } = await api.retry(edit.id, { hparams, partial: options.partial, note: note || null });
    go(to("edits", id));
  };
  return html`<${Confirm} title="Try again, harder?" yes="Try again" onClose=${onClose} onYes=${retry}>
    <p>The ${edit.not_taken > 0 ? many(edit.not_taken, "fact that is", "facts that are") : "facts that are"} not said ${edit.not_taken === 1 ? "is" : "are"} searched for again: with twice the steps and the room that they had, unless you say otherwise.</p>
    <div class="row end">
      <${Field} label="Steps"><input type="number" min="1" value=${options.num_steps} onInput=${(event) => set({ num_steps: event.target.value })} placeholder="2 ×" /><//>
      <${Field} label="Clamp"><input type="number" min="0" step="any" value=${options.clamp} onInput=${(event) => set({ clamp: event.target.value })} placeholder="2 ×" /><//>
    </div>
    <label class="row"><input type="checkbox" checked=${options.partial} onChange=${(event) => set({ partial: event.target.checked })} /> Serve the others though some are still not said</label>
  <//>`;
}
