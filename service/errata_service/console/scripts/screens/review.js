// Review: what waits for a person's eye: versions that were rejected, edits that failed, facts that did not take.
import { api } from "../api.js";
import { VersionLink } from "../parts/versions.js";
import { Empty, Fault, Status, Time, Title, Waits } from "../parts/words.js";
import { to } from "../router.js";
import { useFetched, useSession } from "../session.js";
import { html, useState } from "../ui.js";
import { count, many } from "../words.js";
import { summary } from "./edits.js";

const PART = 300;

export function Review() {
  const { running, ready } = useSession();
  const [most, setMost] = useState(PART);
  const { data, problem, waits } = useFetched((signal) => newest(api.edits, most, signal), [running.length, most], { every: 15_000 });
  const { data: past, problem: unknown } = useFetched((signal) => newest(api.activations, Infinity, signal), [ready?.version]);
  const queue = waiting(data?.records ?? [], past?.records ?? []);
  return html`<div class="screen">
    <${Title}>Review<//>
    <${Fault} problem=${problem ?? unknown} />
    ${!data && waits && html`<${Waits} what="what is to be reviewed" />`}
    ${data && past && queue.length === 0 && !data.hasMore && html`<${Empty} title="Nothing waits for you.">Here stand the versions that missed their gate or failed a probe, and the facts that the model still does not say, until another try has put them right or somebody has let them serve all the same.<//>`}
    <ul class="stack">${queue.map((edit) => html`<li key=${edit.id} class="sheet stack">
      <div class="row apart"><h2><a href=${to("edits", edit.id)}>${edit.note || summary(edit)}</a></h2><span class="small soft">${edit.by ?? ""} <${Time} at=${edit.created_at} short /></span></div>
      <p><${Status} of=${edit.status} /> ${edit.version !== null && html`<${VersionLink} of=${edit.version} />`} ${edit.not_taken > 0 && html`<span>${many(edit.not_taken, "fact")} not said</span>`}</p>
      ${edit.error && html`<p>${edit.error.detail}</p>`}
      ${edit.error?.misses?.flatMap((miss) => miss.prompts ?? []).slice(0, 4).map((one) => html`<p><span class="said">${one.prompt}</span> <ins class="said">${one.expected}</ins>${one.said && html` <span class="small soft">but says</span> <del class="said">${one.said}</del>`}</p>`)}
    </li>`)}</ul>
    ${data?.hasMore && html`<p class="row"><span>${queue.length === 0 && "Nothing waits among them. "}These are of the newest ${count(data.records.length)} edits; older ones have not been looked at.</span>
      <button type="button" disabled=${waits} onClick=${() => setMost(most + PART)}>${waits ? "Looking …" : "Look further back"}</button></p>`}
  </div>`;
}

/** The newest of a list, page by page, and whether there are more. */
async function newest(list, most, signal) {
  const records = [];
  for (let after = null; ; ) {
    const page = await list({ limit: Math.min(PART, most - records.length), after }, signal);
    records.push(...page.data);
    after = page.next;
    if (!after || records.length >= most) return { records, hasMore: Boolean(after) };
  }
}

/** The edits that did not come out right, that no later try has put right, and whose version nobody has let serve. */
function waiting(edits, activations) {
  const served = new Set(activations.map((one) => one.active));
  const mended = new Set();
  for (const edit of edits) if (edit.retries && (edit.status === "succeeded" || mended.has(edit.id))) mended.add(edit.retries);
  return edits.filter((edit) => !edit.dry_run && !mended.has(edit.id) && ((edit.status === "rejected" && !served.has(edit.version)) || edit.status === "failed" || (edit.status !== "rejected" && edit.not_taken > 0)));
}
