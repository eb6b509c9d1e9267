// Drawings: a heat map whose values are read on hover, means with their intervals, and a line over the last minutes.
import { html, useState } from "../ui.js";
import { figure } from "../words.js";

const CELL = { width: 26, height: 20 };

/**
 * Values in rows and columns, each a square that is darker the larger it is.
 * @param {{title: string, rows: string[], columns: (string|number)[], values: (number|null)[][], least?: number, across?: string}} given
 *   `least` is the value of the palest squares
 */
export function HeatMap({ title, rows, columns, values, least: pale = 0, across = "layer" }) {
  const [at, setAt] = useState(/** @type {[number, number]|null} */ (null));
  const all = values.flat().filter((value) => value !== null);
  const [least, most] = [Math.min(pale, ...all), Math.max(...all, pale + 1e-9)];
  const label = Math.min(14, Math.max(4, ...rows.map((row) => row.length))) * 8;
  const width = label + columns.length * CELL.width;
  const said = at && `${rows[at[0]]}, ${across} ${columns[at[1]]}: ${figure(values[at[0]][at[1]])}`;
  const move = (event) => {
    const [row, column] = at ?? [0, 0];
    const step = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] }[event.key];
    if (!step) return;
    event.preventDefault();
    setAt([Math.min(Math.max(row + step[0], 0), rows.length - 1), Math.min(Math.max(column + step[1], 0), columns.length - 1)]);
  };
  return html`<figure class="plot sheet">
    <figcaption><h3>${title}</h3><p class="small soft numbers" aria-live="polite">${said ?? `${figure(least)} (pale) to ${figure(most)} (dark). Point at a square, or use the arrow keys.`}</p></figcaption>
    <div class="scroll"><svg width=${width} height=${rows.length * CELL.height + 20} role="img" tabindex="0" aria-label=${`${title}: ${rows.length} rows, ${columns.length} columns, ${figure(least)} to ${figure(most)}`} onKeyDown=${move} onMouseLeave=${() => setAt(null)}>
      ${rows.map((row, y) => html`<text key=${y} x=${label - 6} y=${(y + 0.7) * CELL.height} text-anchor="end">${row.length > 14 ? `${row.slice(0, 13)}…` : row}</text>
        ${values[y].map((value, x) => html`<rect key=${x} x=${label + x * CELL.width} y=${y * CELL.height} width=${CELL.width - 1} height=${CELL.height - 1}
          class=${at && at[0] === y && at[1] === x ? "cell here" : "cell"} style=${{ "--heat": value === null ? 0 : (value - least) / (most - least) }} onMouseEnter=${() => setAt([y, x])} />`)}`)}
      ${columns.map((column, x) => html`<text key=${`c${x}`} x=${label + (x + 0.5) * CELL.width} y=${rows.length * CELL.height + 14} text-anchor="middle">${column}</text>`)}
    </svg></div>
    <details><summary>As a table</summary><div class="scroll"><table class="small"><thead><tr><th>${across}</th>${columns.map((column) => html`<th class="number">${column}</th>`)}</tr></thead>
      <tbody>${rows.map((row, y) => html`<tr><th scope="row">${row}</th>${values[y].map((value) => html`<td class="number">${figure(value, 2)}</td>`)}</tr>`)}</tbody></table></div></details>
  </figure>`;
}

/** A mean within its interval, on a line from 0 to `most`. */
export function Interval({ mean, low, high, most = 1 }) {
  const x = (value) => `${(100 * Math.min(Math.max(value, 0), most)) / most}%`;
  return html`<svg class="interval" width="100%" height="14" aria-hidden="true">
    <line x1="0" x2="100%" y1="7" y2="7" class="axis" />
    ${low !== null && high !== null && html`<line x1=${x(low)} x2=${x(high)} y1="7" y2="7" class="range" />`}
    ${mean !== null && html`<circle cx=${x(mean)} cy="7" r="4" />`}
  </svg>`;
}

const SPARK = { width: 240, height: 48 };

/** @param {{name: string, said: string, points: (number|null)[], what: string}} given oldest point first */
export function Spark({ name, said, points, what }) {
  const known = points.filter((point) => point !== null);
  const most = Math.max(...known, 1e-9);
  const step = SPARK.width / Math.max(points.length - 1, 1);
  const path = points.map((point, at) => (point === null ? "" : `${at && points[at - 1] !== null ? "L" : "M"}${(at * step).toFixed(1)} ${(SPARK.height - 3 - (point / most) * (SPARK.height - 6)).toFixed(1)}`)).join("");
  return html`<figure class="spark sheet"><figcaption class="row apart"><span>${name}</span><strong class="numbers">${said}</strong></figcaption>
    <svg viewBox=${`0 0 ${SPARK.width} ${SPARK.height}`} preserveAspectRatio="none" role="img" aria-label=${`${name}: ${said}; ${what}`}><path d=${path} /></svg>
    <p class="small soft">${what}</p></figure>`;
}
