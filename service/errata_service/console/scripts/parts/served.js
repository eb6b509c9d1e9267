// The line of what served when, up to now; and the same as a list, with who did it and why.
import { to } from "../router.js";
import { html } from "../ui.js";
import { Time } from "./words.js";
import { VersionLink, nameOf } from "./versions.js";

const MOST_SPANS = 24;
const LEAST_SHARE = 0.02;

/** @param {{activations: {id: number, active: number, previous: number, at: string, by: string, who: string|null, note?: string}[]}} given newest first */
export function Served({ activations }) {
  const spans = activations.slice(0, MOST_SPANS).reverse();
  const now = Date.now();
  const begin = new Date(spans[0].at).getTime();
  const length = Math.max(now - begin, 1);
  const widths = spans.map((span, at) => Math.max((Number(new Date(spans[at + 1]?.at ?? now)) - Number(new Date(span.at))) / length, LEAST_SHARE));
  return html`<section class="stack" aria-label="What served when">
    <div class="served" aria-hidden="true">${spans.map((span, at) => html`<a tabindex="-1" key=${span.id} href=${to("versions", span.active)} class=${`shade-${span.active % 4}`} style=${{ flexGrow: widths[at] }} title=${`${nameOf(span.active)} since ${new Date(span.at).toLocaleString()}`}>${span.active === 0 ? "base" : span.active}</a>`)}</div>
    <details><summary>What served when, who did it and why</summary>
      <table class="folds"><thead><tr><th>since</th><th>serves</th><th>instead of</th><th>by</th><th>why</th></tr></thead>
        <tbody>${activations.map((one) => html`<tr key=${one.id}><td><${Time} at=${one.at} /></td><td><${VersionLink} of=${one.active} /></td><td data-what="instead of"><${VersionLink} of=${one.previous} /></td>
          <td data-what="by">${one.by.startsWith("edit_") ? html`<a href=${to("edits", one.by)}>an edit</a>` : one.by === "rollback" ? "rollback" : "hand"}${one.who && ` (${one.who})`}</td><td>${one.note ?? ""}</td></tr>`)}</tbody></table></details>
  </section>`;
}
