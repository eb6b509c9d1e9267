// Figures of the service over the last minutes, taken from its metrics at each beat of the page.
import { api } from "./api.js";

const KEPT = 150;

/** @type {{at: number, [name: string]: number}[]} oldest first */
export const samples = [];

export async function sample() {
  const found = read(await api.metrics());
  samples.push({ at: Date.now(), ...found });
  if (samples.length > KEPT) samples.shift();
}

/** Prometheus' text form: the sum over a name's labels. */
function read(text) {
  const found = {};
  for (const line of text.split("\n")) {
    const [, name, value] = line.match(/^(\w+)(?:\{.*\})? ([-+.\deE]+)$/) ?? [];
    if (name) found[name] = (found[name] ?? 0) + Number(value);
  }
  return found;
}

/** How much a counter grows a second between two samples, sample by sample; null where it began anew. */
export const rate = (name) => pairs((before, now) => (now[name] >= before[name] ? (now[name] - before[name]) / ((now.at - before.at) / 1000) : null));

/** The mean of what a histogram took in between two samples; null where that was nothing. */
export const mean = (name) => pairs((before, now) => {
  const count = now[`${name}_count`] - before[`${name}_count`];
  return count > 0 ? (now[`${name}_sum`] - before[`${name}_sum`]) / count : null;
});

export const level = (name) => samples.map((sample) => sample[name] ?? null);

const pairs = (of) => samples.slice(1).map((now, at) => of(samples[at], now));
