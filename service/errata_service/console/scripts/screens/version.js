// One version: what it holds, what was measured of it, its names; to serve it, name it, build it again, take it along.
import { api } from "../api.js";
import { Confirm } from "../parts/dialog.js";
import { GiveName, NameTags, Names, useAliases } from "../parts/names.js";
import { VersionLink, nameOf } from "../parts/versions.js";
import { Act, Fault, Status, Tag, Time, Title, Waits } from "../parts/words.js";
import { go, to } from "../router.js";
import { useAction, useFetched, useScope, useSession } from "../session.js";
import { html, useState } from "../ui.js";
import { METRICS, bytes, count, figure, metric, promptOf, share } from "../words.js";

const FORMATS = [["delta", "for another Errata"], ["lora", "an adapter for PEFT or vLLM"], ["merged", "a whole checkpoint"]];

export function Version({ path: [number] }) {
  const { ready } = useSession();
  const { data: version, problem, again } = useFetched((signal) => api.version(number, signal), [number, ready?.version], { every: 15_000 });
  const { data: names, again: lookAtNames } = useAliases();
  const admin = useScope("admin");
  const edits = useScope("edit");
  const [asks, setAsks] = useState("");
  const exporting = useAction(exported);
  const rebuilding = useAction(async (number) => go(to("edits", (await api.rebuild(number)).id)));
  if (!version) return html`<div class="screen"><${Title}>${nameOf(number, true)}<//>${problem ? html`<${Fault} problem=${problem} />` : html`<${Waits} what="the version" />`}</div>`;
  const isActive = version.status === "active";
  const changed = () => (again(), lookAtNames());
  const close = () => (setAsks(""), changed());
  return html`<div class="screen">
    <${Title} actions=${html`
      ${version.dropped && html`<${Act} ...${edits} busy=${rebuilding.busy} onClick=${() => rebuilding.run(version.id)}>Build its weights again<//>`}
      ${!isActive && html`<${Act} class="first" ...${version.dropped ? { may: false, why: "Its weights were dropped: build them again first." } : admin} onClick=${() => setAsks("activate")}>Serve it …<//>`}
      <${Act} ...${admin} onClick=${() => setAsks("name")}>Name it …<//>`}>
      ${nameOf(version.id, true)} <${NameTags} version=${version} aliases=${names?.data} />
    <//>
    <p class="row small"><${Status} of=${version.status} />${version.dropped && html`<${Tag}>weights dropped<//>`}${version.note && html`<span>“${version.note}”</span>`}
      <span class="soft">made <${Time} at=${version.created_at} /> ${version.by ? `by ${version.by}` : ""}</span>
      ${version.edit && html`<a href=${to("edits", version.edit)}>the edit</a>`}${version.parent !== null && html`<span class="soft">on <${VersionLink} of=${version.parent} /></span>`}</p>
    ${version.dropped && html`<p class="notice">It cannot serve as it is: its weights were dropped, to save room. Its facts are all there, and the same weights are built from them again.</p>`}
    <${Fault} problem=${rebuilding.problem} />
    ${version.problem && html`<div class="notice warn"><strong>${isActive ? "It was rejected, and serves all the same." : "Rejected."}</strong> ${version.problem.detail}${version.edit && html` <a href=${to("edits", version.edit)}>See the edit</a>${isActive ? "." : " to try again."}`}</div>`}
    <div class="sides">
      <section class="sheet stack"><h2>Holds</h2>
        <p><a href=${to("facts", { version: version.id === 0 ? "base" : version.id })}>${count(version.facts)} facts</a>${version.parent !== null && html`, ${version.added} added, ${version.changed} changed, ${version.retracted} withdrawn (<a href=${to("versions", "compare", { a: version.parent, b: version.id })}>compare</a>)`}</p>
        ${version.not_taken > 0 && html`<p><${Tag} tone="bad">${version.not_taken} not said<//></p>`}
        <p><a href=${to("ask", { a: version.parent ?? "base", b: version.id })}>Ask it</a>, beside ${version.parent ? nameOf(version.parent) : "the base"}</p>
        <dl class="pairs small"><dt>Built by</dt><dd>${version.method ?? "–"}</dd><dt>Files</dt><dd>${bytes(version.bytes)}</dd>${version.digest && html`<dt>SHA-256</dt><dd><code>${version.digest.slice(0, 16)}…</code></dd>`}${version.imported_from && html`<dt>Imported from</dt><dd>${version.imported_from}</dd>`}</dl>
        ${version.layers.length > 0 && html`<table><thead><tr><th>layer</th><th class="number">rank</th><th class="number">size of its change</th></tr></thead><tbody>${version.layers.map((layer) => html`<tr><td>${layer.layer}</td><td class="number">${layer.rank}</td><td class="number">${share(layer.relative_norm)} of the weight</td></tr>`)}</tbody></table>`}
      </section>
      <section class="sheet stack"><h2>Measured</h2>
        <dl class="pairs numbers">${Object.entries(version.metrics).filter(([, value]) => value !== null).map(([name, value]) => html`<dt>${METRICS[name] ?? name}</dt><dd>${metric(name, value)}</dd>`)}</dl>
        ${Object.values(version.metrics).every((value) => value === null) && html`<p class="soft">Nothing was measured of it.</p>`}
        ${version.evaluation ? html`<h3>Newest evaluation</h3><dl class="pairs numbers">${Object.entries(version.evaluation.estimates).map(([name, one]) => html`<dt>${METRICS[name] ?? name.replaceAll("_", " ")}</dt><dd>${metric(name, one.mean)} <span class="small soft">${one.low === null ? "" : `${metric(name, one.low)} to ${metric(name, one.high)}`}</span></dd>`)}<dt>drift</dt><dd>${figure(version.evaluation.drift)}</dd></dl><p class="small"><a href=${to("evaluations", version.evaluation.id)}>over ${version.evaluation.records} records</a></p>`
        : html`<p class="small"><a href=${to("evaluations", { version: version.id })}>Evaluate it</a></p>`}
      </section>
    </div>
    <${Names} version=${version} aliases=${names?.data} onChange=${changed} />
    ${version.id !== 0 && !version.dropped && html`<section class="stack"><h2>Take it along</h2>
      <div class="row">${FORMATS.map(([format, what]) => html`<${Act} ...${admin} busy=${exporting.busy} onClick=${() => exporting.run(version.id, format)}>${format}, ${what}<//>`)}</div>
      ${exporting.busy && html`<p role="status" class="small soft">The file is being made …</p>`}<${Fault} problem=${exporting.problem} /></section>`}
    ${asks === "activate" && html`<${Activate} version=${version} active=${ready?.version} onClose=${close} />`}
    ${asks === "name" && html`<${GiveName} version=${version} aliases=${names?.data} onClose=${close} />`}
  </div>`;
}

/** Save a version's weights as a file of the browser's. */
async function exported(number, format) {
  const address = URL.createObjectURL(await api.export(number, format));
  const link = Object.assign(document.createElement("a"), { href: address, download: `errata-${number}-${format}.tar` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

/** Before it serves: what will be other than in the version that serves now. */
function Activate({ version, active, onClose }) {
  const { data: diff } = useFetched((signal) => api.diff(active, version.id, { limit: 6 }, signal), [active, version.id]);
  return html`<${Confirm} title=${`Let ${nameOf(version.id)} serve?`} yes="Serve it" grave=${version.status === "rejected"} onClose=${onClose} onYes=${(why) => api.activate(version.id, why)}>
    <p>It serves at once for everyone who names no version, in place of ${nameOf(active)}.</p>
    ${diff && html`<p>${diff.added} facts come, ${diff.changed} change, ${diff.retracted} go:</p><${Changes} diff=${diff} />`}
    ${version.problem && html`<p class="notice warn">It was rejected: ${version.problem.detail}</p>`}
  <//>`;
}

export const Changes = ({ diff }) => html`<ul>${diff.data.map((change) => html`<li key=${change.id}><a class="said" href=${to("facts", change.id)}>${promptOf(change)}</a> ${change.before && html`<del class="said">${change.before}</del> `}${change.after && html`<ins class="said">${change.after}</ins>`}</li>`)}${diff.has_more && html`<li class="soft">and more</li>`}</ul>`;
