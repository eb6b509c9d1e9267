// The tree of versions as lanes beside their rows, newest first: each version hangs on the one that it was made of.
import { html } from "../ui.js";

const STEP = 14;
const ROW = 38;

/**
 * @param {{id: number, parent: number|null}[]} versions newest first
 * @returns {{lane: number, lines: [number, number, "in"|"by"|"out"][]}[]} for each row its lane, and the lines through it: from, to, and how
 */
export function lanesOf(versions) {
  /** @type {(number|null)[]} the version that each lane leads down to */
  const waiting = [];
  return versions.map(({ id, parent }) => {
    let lane = waiting.indexOf(id);
    if (lane < 0) lane = waiting.includes(null) ? waiting.indexOf(null) : waiting.length;
    const before = [...waiting];
    for (let at = 0; at < waiting.length; at += 1) if (waiting[at] === id) waiting[at] = null;
    waiting[lane] = parent ?? null;
    /** @type {[number, number, "in"|"by"|"out"][]} */
    const lines = [];
    before.forEach((wanted, at) => wanted !== null && lines.push(wanted === id ? [at, lane, "in"] : [at, at, "by"]));
    if (parent !== null && parent !== undefined) lines.push([lane, lane, "out"]);
    return { lane, lines };
  });
}

export function Lanes({ lanes, row }) {
  const { lane, lines } = lanes[row];
  const most = Math.max(...lanes.map(({ lane }) => lane)) + 1;
  const x = (lane) => STEP * (lane + 0.5);
  const path = ([from, to, how]) => (how === "in" ? `M${x(from)} 0C${x(from)} ${ROW / 2} ${x(to)} 0 ${x(to)} ${ROW / 2}` : how === "out" ? `M${x(to)} ${ROW / 2}V${ROW}` : `M${x(from)} 0V${ROW}`);
  // The lines stretch to the height of the row; a dot is the round cap of a line without length, which does not.
  const dot = `M${x(lane)} ${ROW / 2}h0.01`;
  return html`<div class="tree-room" style=${{ width: `${STEP * most}px` }}><svg viewBox=${`0 0 ${STEP * most} ${ROW}`} preserveAspectRatio="none" aria-hidden="true" class="tree">
    ${lines.map((line) => html`<path d=${path(line)} />`)}<path class="rim" d=${dot} /><path class="dot" d=${dot} />
  </svg></div>`;
}
