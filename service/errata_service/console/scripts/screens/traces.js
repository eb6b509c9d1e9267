// Traces: where the base model recalls an answer; asked for by a form, and listed.
import { api } from "../api.js";
import { Act, Empty, Fault, Field, Status, Switch, Time, Title, Waits } from "../parts/words.js";
import { recordsOf } from "../records.js";
import { go, to } from "../router.js";
import { useAction, useFetched, useScope } from "../session.js";
import { html, useState } from "../ui.js";
import { many, share } from "../words.js";

const SHOWN = 50;

export function Traces() {
  const { data, problem, waits } = useFetched((signal) => api.traces({ limit: SHOWN }, signal), [], { every: 10_000 });
  return html`<div class="screen">
    <${Title}>Traces<//>
    <${New} />
    <${Fault} problem=${problem} />
    ${!data && waits && html`<${Waits} what="the traces" />`}
    ${data?.data.length === 0 && html`<${Empty} title="No traces yet.">A trace corrupts a subject and restores the model’s states one by one, to see which layers bring its answer back: there facts are edited.<//>`}
    ${data?.data.length > 0 && html`<table class="folds"><thead><tr><th>trace</th><th>status</th><th class="number">clean</th><th class="number">corrupted</th><th>layers proposed</th><th>asked</th></tr></thead>
      <tbody>${data.data.map((one) => html`<tr key=${one.id}><th scope="row"><a class="said" href=${to("traces", one.id)}>${nameOfTrace(one)}</a></th><td><${Status} of=${one.status} /></td>
        <td class="number" data-what="clean">${share(one.result?.clean)}</td><td class="number" data-what="corrupted">${share(one.result?.corrupted)}</td><td>${one.result?.layers?.join(", ") ?? ""}</td><td class="small soft"><${Time} at=${one.created_at} short />${one.by && ` by ${one.by}`}</td></tr>`)}</tbody></table>`}
  </div>`;
}

export const nameOfTrace = (trace) => trace.note || (trace.prompt ? `${trace.prompt.replace("{}", trace.subject)} ${trace.answer ?? trace.result?.answer ?? ""}` : `an average over ${many(trace.facts, "fact")}`);

function New() {
  const { may, why } = useScope("edit");
  const [kind, setKind] = useState("prompt");
  const [options, setOptions] = useState({ prompt: "{} plays the sport of", subject: "Michael Jordan", answer: "", facts: "", noise_level: 3, num_samples: 10 });
  const [fault, setFault] = useState("");
  const sending = useAction(api.sendTrace);
  const type = (name) => (event) => setOptions({ ...options, [name]: event.target.value });
  const submit = async (event) => {
    event.preventDefault();
    setFault("");
    const shared = { noise_level: Number(options.noise_level), num_samples: Number(options.num_samples) };
    /** @type {object} */
    let asked = { ...shared, prompt: options.prompt, subject: options.subject, answer: options.answer.trim() || null };
    if (kind === "facts") {
      const found = recordsOf(options.facts);
      const bad = found.find((one) => one.fault);
      if (bad || !found.length) return setFault(bad ? `line ${bad.line} ${bad.fault}` : "there is no fact");
      const { data } = await api.checkFacts(found.map((one) => one.record));
      const wrong = data.findIndex((one) => one.errors.length);
      if (wrong >= 0) return setFault(`line ${found[wrong].line} ${data[wrong].errors[0].detail}`);
      asked = { ...shared, facts: data.map((one) => one.fact) };
    }
    const trace = await sending.run(asked);
    if (trace) go(to("traces", trace.id));
  };
  return html`<form class="sheet stack" aria-label="A new trace" onSubmit=${submit}>
    <${Switch} label="What to trace" value=${kind} onChange=${setKind} options=${[["prompt", "one prompt"], ["facts", "many facts"]]} />
    ${kind === "prompt" ? html`<div class="row end fields">
        <${Field} label="Prompt" hint="{} where the subject stands"><input class="reads" value=${options.prompt} onInput=${type("prompt")} required /><//>
        <${Field} label="Subject"><input class="reads" value=${options.subject} onInput=${type("subject")} required /><//>
        <${Field} label="Answer" hint="or what the model says"><input class="reads" value=${options.answer} onInput=${type("answer")} /><//></div>`
      : html`<${Field} label="Facts that the model should know" hint="subject | relation | object, one a line; the layers to edit are proposed from their average"><textarea rows="5" value=${options.facts} onInput=${type("facts")} placeholder=${"Michael Jordan | plays the sport of | basketball"}></textarea><//>`}
    <div class="row end">
      <${Field} label="Noise"><input type="number" min="0.1" step="any" value=${options.noise_level} onInput=${type("noise_level")} /><//>
      <${Field} label="Corrupted runs"><input type="number" min="1" max="1000" value=${options.num_samples} onInput=${type("num_samples")} /><//>
      <${Act} type="submit" class="first" may=${may} why=${why} busy=${sending.busy}>${sending.busy ? "Asking …" : "Trace"}<//>
    </div>
    ${fault && html`<p class="fault" role="alert">${fault}</p>`}<${Fault} problem=${sending.problem} />
  </form>`;
}
