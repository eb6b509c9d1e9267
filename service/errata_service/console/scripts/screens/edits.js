// Edits: the newest first, and how each stands.
import { api } from "../api.js";
import { VersionLink } from "../parts/versions.js";
import { Empty, Fault, Status, Time, Title, Waits } from "../parts/words.js";
import { to } from "../router.js";
import { useFetched, useSession } from "../session.js";
import { html, useState } from "../ui.js";
import { between, many, seconds } from "../words.js";

const PART = 25;

export function Edits() {
  const [limit, setLimit] = useState(PART);
  const { running } = useSession();
  const { data, problem, waits } = useFetched((signal) => api.edits({ limit }, signal), [limit, running.map((edit) => [edit.id, edit.status])], { every: 10_000 });
  return html`<div class="screen">
    <${Title} actions=${html`<a class="button first" href=${to("facts", "new")}>Add facts</a>`}>Edits<//>
    <${Fault} problem=${problem} />
    ${!data && waits && html`<${Waits} what="the edits" />`}
    ${data?.data.length === 0 && html`<${Empty} title="No edits yet."><p>An edit takes facts to a new version of the model, measures it, and lets it serve if it passes its gate. <a href=${to("facts", "new")}>Add facts</a> to begin with.</p><//>`}
    ${data?.data.length > 0 && html`<table class="folds edits">
      <thead><tr><th>edit</th><th>status</th><th>what</th><th>version</th><th>by</th><th>sent</th><th class="number">took</th></tr></thead>
      <tbody>${data.data.map((edit) => html`<tr key=${edit.id}>
        <th scope="row"><a href=${to("edits", edit.id)}>${edit.note || summary(edit)}</a></th>
        <td><${Status} of=${edit.status} />${edit.not_taken > 0 && html` <span class="small soft">${edit.not_taken} not said</span>`}</td>
        <td class="small soft">${edit.note ? summary(edit) : kindOf(edit)}</td>
        <td>${edit.version !== null && html`<${VersionLink} of=${edit.version} />`}</td>
        <td data-what="by">${edit.by ?? ""}</td><td class="small"><${Time} at=${edit.created_at} short /></td>
        <td class="number small">${edit.finished_at && edit.started_at ? seconds(between(edit.started_at, edit.finished_at)) : ""}</td></tr>`)}</tbody>
    </table>`}
    ${data?.has_more && html`<div><button type="button" onClick=${() => setLimit(Math.min(limit + PART, 1000))}>Older ones</button></div>`}
  </div>`;
}

/** What an edit does, in a few words. */
export function summary(edit) {
  if (edit.rebuild) return `builds version ${edit.version} again`;
  const parts = [[edit.added, "added"], [edit.changed, "changed"], [edit.retracted, "withdrawn"]].filter(([number]) => number);
  return parts.length ? parts.map(([number, what]) => `${number} ${what}`).join(", ") : many(edit.facts, "fact");
}

export const kindOf = (edit) => [edit.dry_run && "only measured", edit.retries && "another try", edit.method !== "memit" && edit.method].filter(Boolean).join(", ");
