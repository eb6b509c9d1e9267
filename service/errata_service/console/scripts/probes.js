// What versions answer to probes: asked greedily, as a gate does.
import { api } from "./api.js";

const AT_ONCE = 32;
const TOKENS_BEYOND = 8;

/** Whether a text begins with an answer that no longer word follows. */
export const saysIt = (text, answer) => Boolean(answer) && text.startsWith(answer) && !/^[\p{L}\p{N}]/u.test(text.slice(answer.length));

/**
 * @param {{prompt: string, answer: string}[]} probes
 * @returns {Promise<{text: string, passes: boolean}[]>}
 */
export async function answersOf(version, probes, signal) {
  const answers = [];
  for (let first = 0; first < probes.length; first += AT_ONCE) {
    const part = probes.slice(first, first + AT_ONCE);
    const most = Math.max(...part.map((probe) => Math.ceil(probe.answer.length / 2))) + TOKENS_BEYOND;
    const { data } = await api.generate(version, part.map((probe) => probe.prompt), most, signal);
    answers.push(...data.map(({ text }, at) => {
      const said = text.trimStart();
      return { text: said.slice(0, part[at].answer.length + 12).split("\n")[0], passes: saysIt(said, part[at].answer) };
    }));
  }
  return answers;
}
