// How facts, figures and times are said.

/** How a fact's prompt reads. */
export const promptOf = ({ subject, relation }) => (relation.includes("{}") ? relation.replace("{}", subject) : `${subject} ${relation}`);

const shares = new Intl.NumberFormat(undefined, { style: "percent", maximumFractionDigits: 1 });
const counts = new Intl.NumberFormat();

/** A probability or a share: `97.3 %`; what is there and small is not said to be nothing. */
export function share(value) {
  if (value === null || value === undefined) return "–";
  if (value > 0 && value < 0.001) return `< ${shares.format(0.001)}`;
  if (value < 1 && value > 0.9994) return `> ${shares.format(0.999)}`;
  return shares.format(value);
}

export function count(value) {
  return value === null || value === undefined ? "–" : counts.format(value);
}

/** `1 fact`, `12 facts` */
export const many = (number, word, words = `${word}s`) => `${count(number)} ${number === 1 ? word : words}`;

export function figure(value, digits = 3) {
  if (value === null || value === undefined) return "–";
  return Number(value).toLocaleString(undefined, { maximumSignificantDigits: digits });
}

export function bytes(value) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) [value, unit] = [value / 1000, unit + 1];
  return `${figure(value)} ${units[unit]}`;
}

export function seconds(value) {
  if (value === null || value === undefined) return "–";
  if (value < 1) return `${Math.round(value * 1000)} ms`;
  if (value < 90) return `${figure(value, 2)} s`;
  if (value < 5400) return `${Math.round(value / 60)} min`;
  return `${figure(value / 3600, 2)} h`;
}

/** Seconds between two times of records. */
export const between = (from, to) => (Number(new Date(to ?? Date.now())) - Number(new Date(from))) / 1000;

export const METRICS = {
  said: "said",
  kept: "kept",
  said_in_chat: "said in chat",
  efficacy: "efficacy",
  efficacy_accuracy: "efficacy, exactly",
  generalization: "paraphrases follow",
  generalization_accuracy: "paraphrases, exactly",
  specificity: "neighbours stay",
  specificity_accuracy: "neighbours, exactly",
  score: "score",
  fluency: "fluency",
  drift: "drift (nats)",
  perplexity_before: "perplexity before",
  perplexity_after: "perplexity after",
  perplexity_rise: "rise of perplexity",
};

/** How a figure of a version is written: shares as percentages, the rest as numbers. */
export function metric(name, value) {
  const isShare = !/drift|perplexity|fluency|kl/.test(name) || name === "perplexity_rise";
  return isShare ? share(value) : figure(value);
}
