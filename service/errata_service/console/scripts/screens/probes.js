// Probes: the questions that every new version must answer as before, and which version fails which.
import { api } from "../api.js";
import { VersionPicker, nameOf, useVersions } from "../parts/versions.js";
import { Act, Empty, Fault, Field, Tag, Title, Waits } from "../parts/words.js";
import { Confirm } from "../parts/dialog.js";
import { answersOf } from "../probes.js";
import { useFetched, useScope } from "../session.js";
import { html, useState } from "../ui.js";
import { many } from "../words.js";

const MOST = 1000;

export function Probes() {
  const { data, problem, waits, again } = useFetched((signal) => api.probes({ limit: MOST }, signal), []);
  const { data: versions } = useVersions();
  const [others, setOthers] = useState(/** @type {string[]} */ ([]));
  const [asks, setAsks] = useState(null);
  const { may, why } = useScope("admin");
  const probes = data?.data ?? [];
  const columns = ["base", "active", ...others];
  const active = versions?.data.find((version) => version.status === "active")?.id;
  const put = (next, title, yes) => setAsks({ next, title, yes });
  return html`<div class="screen">
    <${Title} actions=${html`<${Act} may=${may} why=${why} onClick=${() => put([...probes.map(plain), { prompt: "", answer: "" }], "Put another probe?", "Put it")}>Add a probe …<//>`}>Probes<//>
    <p class="soft">Every version that is built must say the answer to each, or it is rejected, whatever else it was made for.</p>
    <${Fault} problem=${problem} />
    ${!data && waits && html`<${Waits} what="the probes" />`}
    ${data && probes.length === 0 && html`<${Empty} title="No probes yet.">A probe is a prompt with the answer that must stay: <span class="said">Kobe Bryant plays the sport of <ins class="said">basketball</ins></span>. Put those that nobody must break.<//>`}
    ${probes.length > 0 && html`
      <div class="row end"><${VersionPicker} label="Look at another version, too" value="active" onChange=${(name) => !columns.includes(name) && setOthers([...others, name])} /></div>
      <div class="scroll"><table class="matrix">
        <thead><tr><th>prompt</th><th>answer</th>${columns.map((name) => html`<th key=${name}>${nameOf(name)}${others.includes(name) && html` <button type="button" class="plain" aria-label=${`Leave out ${nameOf(name)}`} onClick=${() => setOthers(others.filter((one) => one !== name))}>×</button>`}</th>`)}<th><span class="hidden-text">take away</span></th></tr></thead>
        <${Answers} probes=${probes} columns=${columns} active=${active} take=${may && ((probe) => put(probes.filter((one) => one !== probe).map(plain), `Take away “${probe.prompt} ${probe.answer}”?`, "Take it away"))} />
      </table></div>`}
    ${asks && html`<${Put} ...${asks} before=${probes.length} onClose=${() => (setAsks(null), again())} />`}
  </div>`;
}

const plain = ({ prompt, answer }) => ({ prompt, answer });

function Answers({ probes, columns, active, take }) {
  const { data, problem } = useFetched((signal) => Promise.all(columns.map((version) => answersOf(version, probes, signal))), [columns, probes.map(plain), active]);
  return html`<tbody>
    ${problem && html`<tr><td colspan=${columns.length + 3}><${Fault} problem=${problem} /></td></tr>`}
    ${probes.map((probe, row) => html`<tr key=${probe.number}><td class="said">${probe.prompt}</td><td class="said">${probe.answer}</td>
      ${columns.map((_, column) => {
        const said = data?.[column]?.[row];
        return html`<td>${!said ? html`<span class="soft">…</span>` : said.passes ? html`<${Tag} tone="good">says it<//>` : html`<${Tag} tone="bad">fails<//> <del class="said">${said.text}</del>`}</td>`;
      })}
      <td>${take && html`<button type="button" class="plain small" onClick=${() => take(probe)}>take away</button>`}</td></tr>`)}
  </tbody>`;
}

/** Ask before the list is put, and say which of it the version that serves fails already. */
function Put({ next, title, yes, before, onClose }) {
  const [last, setLast] = useState(next.at(-1) ?? { prompt: "", answer: "" });
  const [failing, setFailing] = useState(null);
  const adds = next.length > before;
  const all = adds ? [...next.slice(0, -1), last] : next;
  const submit = async () => {
    const answer = await api.putProbes(all);
    const failed = answer.failing.filter((one) => adds && one.prompt === last.prompt.trim());
    if (failed.length && !failing) {
      setFailing(failed[0]);
      throw new Error("It is put, but the version that serves fails it: no edit goes live until one puts that right.");
    }
  };
  return html`<${Confirm} title=${title} yes=${failing ? "Leave it so" : yes} asksWhy=${false} onClose=${onClose} onYes=${failing ? async () => {} : submit}>
    ${adds && html`<div class="stack"><${Field} label="Prompt"><input class="reads" required value=${last.prompt} onInput=${(event) => setLast({ ...last, prompt: event.target.value })} placeholder="Kobe Bryant plays the sport of" /><//>
      <${Field} label="Answer"><input class="reads" required value=${last.answer} onInput=${(event) => setLast({ ...last, answer: event.target.value })} placeholder="basketball" /><//></div>`}
    ${failing && html`<p>It says <del class="said">${failing.said}</del> instead.</p>`}
    <p class="small soft">The list then has ${many(all.length, "probe")}. Versions that were built before are not looked at again.</p>
  <//>`;
}
