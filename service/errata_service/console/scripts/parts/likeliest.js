// The likeliest tokens in one place of a text, of one version or of two side by side.
import { html } from "../ui.js";
import { share } from "../words.js";

const MOST = 6;

/** A token as it can be seen: what is blank has a sign. */
export const shown = (text) => text.replaceAll("\n", "⏎").replaceAll("\t", "⇥").replace(/^ /, "␣");

/**
 * @param {{columns: {name: string, token: {text: string, likeliest: {text: string, probability: number}[]}|undefined}[], after: string}} given
 */
export function Likeliest({ columns, after }) {
  const tops = columns.map(({ token }) => new Map((token?.likeliest ?? []).map((one) => [one.text, one.probability])));
  const rows = [...new Set(tops.flatMap((top) => [...top.keys()]))]
    .map((text) => ({ text, probabilities: tops.map((top) => top.get(text)) }))
    .sort((a, b) => Math.max(...b.probabilities.map((p) => p ?? 0)) - Math.max(...a.probabilities.map((p) => p ?? 0)))
    .slice(0, MOST);
  // A token that a version does not list is less likely there than the last one that it lists.
  const least = tops.map((top) => Math.min(...top.values(), 1));
  return html`<figure class="likeliest">
    <figcaption class="small soft">Likeliest ${after ? html`after <span class="said">“…${after.slice(-40)}”</span>` : "as the first word of the answer"}</figcaption>
    <table>
      <thead><tr><th scope="col">token</th>${columns.map(({ name }) => html`<th scope="col" class="number">${name}</th>`)}</tr></thead>
      <tbody>
        ${rows.map(({ text, probabilities }) => html`<tr key=${text}>
          <th scope="row"><code>${shown(text)}</code></th>
          ${probabilities.map((probability, column) => html`<td class="number">
            ${probability === undefined ? (tops[column].size ? `< ${share(least[column]).replace("< ", "")}` : "") : share(probability)}
            <span class="bar" aria-hidden="true"><i style=${{ width: `${100 * (probability ?? 0)}%` }}></i></span>
          </td>`)}
        </tr>`)}
      </tbody>
    </table>
  </figure>`;
}
