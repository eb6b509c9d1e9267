// Versions: the tree of them, and which served when.
import { api } from "../api.js";
import { NameTags, useAliases } from "../parts/names.js";
import { Served } from "../parts/served.js";
import { lanesOf, Lanes } from "../parts/tree.js";
import { VersionLink, nameOf, useVersions } from "../parts/versions.js";
import { Act, Fault, Status, Tag, Time, Title, Waits } from "../parts/words.js";
import { Confirm } from "../parts/dialog.js";
import { to } from "../router.js";
import { useFetched, useScope, useSession } from "../session.js";
import { html, useState } from "../ui.js";
import { count, figure, share } from "../words.js";

export function Versions() {
  const { data, problem, waits, again } = useVersions();
  const { ready } = useSession();
  const { data: past } = useFetched((signal) => api.activations({ limit: 200 }, signal), [ready?.version], { every: 20_000 });
  const { data: names } = useAliases();
  const admin = useScope("admin");
  const [asks, setAsks] = useState(false);
  const [chosen, setChosen] = useState([]);
  const versions = data?.data ?? [];
  const lanes = lanesOf(versions);
  const previous = past?.data[0]?.previous;
  const choose = (number) => setChosen(chosen.includes(number) ? chosen.filter((one) => one !== number) : [...chosen, number].slice(-2));
  const [a, b] = [...chosen].sort((one, other) => one - other);
  return html`<div class="screen">
    <${Title} actions=${html`
      <a class="button" aria-disabled=${chosen.length < 2} href=${chosen.length < 2 ? undefined : to("versions", "compare", { a, b })}>${chosen.length < 2 ? "Compare two (choose them)" : `Compare ${nameOf(a)} and ${nameOf(b)}`}</a>
      <${Act} class="grave" ...${admin} disabled=${!past?.data.length} onClick=${() => setAsks(true)}>Roll back …<//>`}>Versions<//>
    <${Fault} problem=${problem} />
    ${!data && waits && html`<${Waits} what="the versions" />`}
    ${past?.data.length > 0 && html`<${Served} activations=${past.data} />`}
    ${versions.length > 0 && html`<div class="scroll"><table class="versions">
      <thead><tr><th><span class="hidden-text">tree</span></th><th>version</th><th>status</th><th class="number">facts</th><th class="number">said</th><th class="number">drift</th><th>why</th><th>made</th><th>compare</th></tr></thead>
      <tbody>${versions.map((version, row) => html`<tr key=${version.id} class=${version.status === "active" ? "is-active" : ""}>
        <td class="lanes"><${Lanes} lanes=${lanes} row=${row} /></td>
        <th scope="row"><${VersionLink} of=${version.id} /> <${NameTags} version=${version} aliases=${names?.data} /></th>
        <td>${version.dropped ? html`<span title="Its weights were dropped, and can be built again on its page."><${Tag}>dropped<//></span>` : html`<${Status} of=${version.status === "active" ? "active" : version.status} />`}</td>
        <td class="number">${count(version.facts)} <span class="small soft">${changesOf(version)}</span></td>
        <td class="number">${version.metrics.said === undefined ? "–" : share(version.metrics.said)}</td>
        <td class="number">${figure(version.metrics.drift, 2)}</td>
        <td class="why">${version.note ?? (version.id === 0 ? "the model as it came" : "")}</td>
        <td class="small soft"><${Time} at=${version.created_at} short />${version.by && html` by ${version.by}`}</td>
        <td><input type="checkbox" aria-label=${`Choose ${nameOf(version.id)} to compare`} checked=${chosen.includes(version.id)} onChange=${() => choose(version.id)} /></td></tr>`)}</tbody>
    </table></div>`}
    ${data?.has_more && html`<p class="small soft">The newest ${versions.length} are shown.</p>`}
    ${versions.length === 1 && html`<p class="soft">There is only the base so far. Every edit makes a version. <a href=${to("facts", "new")}>Add facts</a>.</p>`}
    ${asks && html`<${RollBack} active=${ready?.version} previous=${previous} onClose=${() => (setAsks(false), again())} />`}
  </div>`;
}

const changesOf = (version) => [[version.added, "+"], [version.changed, "~"], [version.retracted, "−"]].filter(([number]) => number).map(([number, sign]) => sign + number).join(" ");

function RollBack({ active, previous, onClose }) {
  return html`<${Confirm} title="Roll back?" yes="Roll back" grave onClose=${onClose} onYes=${(why) => api.rollBack(undefined, why)}>
    <p>Now ${nameOf(active)} serves. The version that served before it${previous === undefined ? "" : ` (${nameOf(previous)}, or one further back where it was rolled back to already)`} serves again, at once, for everyone who names no version. No version is lost: “Serve it” on its page takes you forward again.</p>
    ${previous !== undefined && html`<p><a href=${to("versions", "compare", { a: active, b: previous })}>See what would change</a></p>`}
  <//>`;
}
