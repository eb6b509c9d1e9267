// A long list of which only the rows in sight are drawn, so that ten thousand are as quick as ten.
import { html, useEffect, useRef, useState } from "../ui.js";

const AROUND = 12;

/**
 * @param {{label: string, columns: string[], rows: any[], total: number, row: (item: any, index: number) => any, onEnd?: () => void, kind?: string}} given
 *   `columns` are their headings, in parentheses where one is only read out; `row` gives a row's cells; `onEnd` is called when the last rows come into sight.
 */
export function VirtualTable({ label, columns, rows, total, row, onEnd, kind = "" }) {
  const box = useRef(null);
  const [height, setHeight] = useState(36);
  const [view, setView] = useState({ top: 0, seen: 600 });
  useEffect(() => {
    const look = () => setView({ top: box.current.scrollTop, seen: box.current.clientHeight });
    const measure = () => {
      setHeight(parseFloat(getComputedStyle(box.current).getPropertyValue("--row-px")) || 36);
      look();
    };
    measure();
    const watching = new ResizeObserver(measure);
    watching.observe(box.current);
    box.current.addEventListener("scroll", look, { passive: true });
    return () => watching.disconnect();
  }, []);
  const first = Math.max(0, Math.floor(view.top / height) - AROUND);
  const last = Math.min(rows.length, Math.ceil((view.top + view.seen) / height) + AROUND);
  useEffect(() => {
    if (last >= rows.length - AROUND) onEnd?.();
  }, [last, rows.length]);
  return html`<div class=${`virtual ${kind}`} ref=${box} tabindex="0" role="table" aria-label=${label} aria-rowcount=${total + 1}>
    <div role="rowgroup" class="virtual-head"><div role="row" aria-rowindex="1">${columns.map((name) => html`<span role="columnheader" class="cut">${name.startsWith("(") ? html`<span class="hidden-text">${name.slice(1, -1)}</span>` : name}</span>`)}</div></div>
    <div role="rowgroup" style=${{ height: `${rows.length * height}px` }} class="virtual-rows">
      ${rows.slice(first, last).map((item, at) => html`<div role="row" class="virtual-row" key=${item.key ?? item.id ?? first + at} aria-rowindex=${first + at + 2} style=${{ top: `${(first + at) * height}px` }}>${row(item, first + at)}</div>`)}
    </div>
  </div>`;
}
