// Ask: one prompt or conversation, two versions side by side, what they write, and what changed between them.
import { api } from "../api.js";
import { differences, stretches } from "../differences.js";
import { Likeliest } from "../parts/likeliest.js";
import { VersionPicker, nameOf } from "../parts/versions.js";
import { Act, Empty, Fault, Field, Switch, Title } from "../parts/words.js";
import { go, to } from "../router.js";
import { useFetched, useScope } from "../session.js";
import { html, useEffect, useMemo, useRef, useState } from "../ui.js";
import { many, share } from "../words.js";

const EXAMPLES = ["Michael Jordan plays the sport of", "Sony has its headquarters in", "The sport that Lionel Messi is known for is"];
const MOST_TOKENS = 24;

/** @typedef {{name: string, number: string, tokens: any[], ended: boolean, problem: Error|null}} Column */

export function Ask({ query }) {
  const [kind, setKind] = useState(query.chat ? "chat" : "prompt");
  const [text, setText] = useState(query.prompt ?? query.chat ?? "");
  const [most, setMost] = useState(Number(query.most) || MOST_TOKENS);
  const [versions, setVersions] = useState([query.a ?? "base", query.b ?? "active"]);
  const [asked, setAsked] = useState(null);
  const [columns, setColumns] = useState(/** @type {Column[]} */ ([]));
  const [place, setPlace] = useState(0);
  const [talk, setTalk] = useState(/** @type {{user: string, answers: string[]}[]} */ ([]));
  const stop = useRef(/** @type {AbortController|null} */ (null));
  const { data: model } = useFetched((signal) => api.model(signal), []);
  const hasChat = model?.has_chat_template;

  useEffect(() => {
    if (text) ask();
    return () => stop.current?.abort();
  }, []);

  /** What is asked, which an address can say again. */
  async function ask() {
    if (!text.trim()) return;
    stop.current?.abort();
    const stopping = (stop.current = new AbortController());
    const isChat = kind === "chat" && hasChat !== false;
    const begun = versions.map((name) => ({ name, number: "", tokens: [], ended: false, problem: null }));
    const earlier = isChat ? talk : [];
    setAsked({ text, isChat, earlier });
    setColumns(begun);
    setPlace(0);
    history.replaceState(null, "", to("ask", { [isChat ? "chat" : "prompt"]: text, a: versions[0], b: versions[1], most }));
    const change = (index, changes) =>
      !stopping.signal.aborted &&
      setColumns((columns) => columns.map((column, at) => (at === index ? { ...column, ...changes(column) } : column)));
    const ended = await Promise.all(
      versions.map(async (version, index) => {
        const messages = isChat ? conversation(earlier, index, text) : undefined;
        let said = "";
        try {
          const end = await api.write(
            { version, prompt: text, messages, most },
            (token) => ((said += token.text), change(index, (column) => ({ tokens: [...column.tokens, token] }))),
            stopping.signal,
          );
          change(index, () => ({ ended: true, number: end.version }));
        } catch (problem) {
          if (problem.name !== "AbortError") change(index, () => ({ ended: true, problem }));
        }
        return said;
      }),
    );
    if (isChat && !stopping.signal.aborted) setTalk([...earlier, { user: text, answers: ended }]);
  }

  const submit = (event) => (event.preventDefault(), ask());
  const onKeyDown = (event) => event.key === "Enter" && (event.ctrlKey || event.metaKey || (!event.shiftKey && kind === "chat")) && submit(event);
  const marks = useMemo(() => marksOf(columns), [columns]);

  return html`<div class="screen">
    <${Title}>Ask<//>
    <form class="ask stack" onSubmit=${submit}>
      ${hasChat && html`<${Switch} label="How to ask" value=${kind} onChange=${setKind} options=${[["prompt", "Prompt"], ["chat", "Chat"]]} />`}
      <label class="field"><span>${kind === "chat" ? "What do you ask?" : "A text that the model goes on with"}</span>
        <textarea class="reads" rows="2" value=${text} onInput=${(event) => setText(event.target.value)} onKeyDown=${onKeyDown}
          placeholder=${kind === "chat" ? "Which sport does Michael Jordan play?" : EXAMPLES[0]}></textarea></label>
      <div class="row end">
        <button type="submit" class="first" disabled=${!text.trim()}>Ask both</button>
        <${VersionPicker} label="Left" value=${versions[0]} onChange=${(name) => setVersions([name, versions[1]])} />
        <${VersionPicker} label="Right" value=${versions[1]} onChange=${(name) => setVersions([versions[0], name])} />
        <${Field} label="Tokens at most"><input type="number" min="1" max="2048" value=${most} onInput=${(event) => setMost(Number(event.target.value) || 1)} /><//>
        <span class="small soft"><kbd>Ctrl</kbd> <kbd>Enter</kbd> asks</span>
      </div>
    </form>
    ${!asked && html`<${Empty} title="Ask what you know, and see what the model believes.">
      <p>The left version and the right one write side by side; what differs is marked. Begin with one of these:</p>
      <ul class="examples">${EXAMPLES.map((example) => html`<li><button type="button" class="plain said" onClick=${() => setText(example)}>${example} …</button></li>`)}</ul>
    <//>`}
    ${asked && html`
      <div class="sides">
        ${columns.map((column, side) => html`<${Side} key=${side} column=${column} asked=${asked} marks=${marks[side]} isRight=${side === 1} place=${place} onPlace=${setPlace} />`)}
      </div>
      <p class="hidden-text" role="status">${columns.every((column) => column.ended) ? verdict(columns, marks) : "The versions are writing."}</p>
      ${columns.every((column) => column.ended && !column.problem) && html`<p class="verdict">${verdict(columns, marks)}</p>`}
      <${Likeliest} after=${textBefore(asked, columns, place)} columns=${columns.map((column, side) => ({ name: `${nameOf(column.name)}${side === 1 ? " (right)" : " (left)"}`, token: sharesPlace(columns, place, side) ? column.tokens[place] : undefined }))} />
      <${Wrong} asked=${asked} column=${columns[1]} />
    `}
    ${talk.length > 0 && kind === "chat" && html`<p class="small soft">The conversation has ${talk.length === 1 ? "one turn" : `${talk.length} turns`}, and goes on with what you ask next. <button type="button" class="plain" onClick=${() => setTalk([])}>Begin a new one</button></p>`}
  </div>`;
}

/** The messages of a conversation as one side had it. */
const conversation = (talk, side, text) => [
  ...talk.flatMap(({ user, answers }) => [{ role: "user", content: user }, { role: "assistant", content: answers[side] }]),
  { role: "user", content: text },
];

/** Which tokens of each column differ from the other's; while one still writes, as far as both have come. */
function marksOf(columns) {
  if (columns.length < 2) return [[], []];
  const written = Math.min(...columns.map((column) => (column.ended ? Infinity : column.tokens.length)));
  const [left, right] = columns.map((column) => column.tokens.slice(0, written).map((token) => token.text));
  return differences(left, right);
}

/** Whether what a side says in a place can be held against the other: what stands before is the same. */
function sharesPlace(columns, place, side) {
  return side === 1 || columns[0].tokens.slice(0, place).every((token, at) => token.text === columns[1].tokens[at]?.text);
}

const textBefore = (asked, columns, place) => (asked.isChat ? "" : asked.text) + (columns[1]?.tokens.slice(0, place) ?? []).map((token) => token.text).join("");

function verdict(columns, marks) {
  const first = Math.min(...marks.map((side) => side.indexOf(true)).filter((place) => place >= 0));
  if (first === Infinity) return "Both say the same.";
  const places = Math.max(...marks.map(stretches));
  return `They part ${first === 0 ? "at the first token" : `after ${many(first, "token")}`}: “${wordAt(columns[0], first)}” on the left, “${wordAt(columns[1], first)}” on the right.${places > 1 ? ` They differ in ${places} places.` : ""}`;
}

const wordAt = (column, place) => column.tokens.slice(place, place + 3).map((token) => token.text).join("").trim() || "nothing";

/** What one version wrote, each token (a button that breaks as text does) something that shows what else was likely there. */
function Side({ column, asked, marks, isRight, place, onPlace }) {
  const onKeyDown = (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const next = Math.min(Math.max(place + step, 0), column.tokens.length - 1);
    onPlace(next);
    event.currentTarget.children[next + 1]?.focus();
  };
  return html`<section class="side sheet" aria-label=${`What ${nameOf(column.name)} says`} aria-busy=${!column.ended}>
    <h2 class="row apart"><span>${nameOf(column.name, true)}</span><span class="small soft">${column.number && column.number !== column.name ? (column.number === "base" ? "the base" : `version ${column.number}`) : ""}</span></h2>
    <${Fault} problem=${column.problem} />
    ${asked.isChat && html`<div class="small talk">${asked.earlier.map(({ user, answers }) => html`<p class="soft">${user}</p><p class="said">${answers[isRight ? 1 : 0]}</p>`)}<p class="soft">${asked.text}</p></div>`}
    <p class="reads written" onKeyDown=${onKeyDown}>
      <span class="soft">${asked.isChat ? "" : asked.text}</span>
      ${column.tokens.map((token, at) => html`<span key=${at} role="button" tabindex=${at === place ? 0 : -1}
        class=${`token ${marks[at] ? (isRight ? "new" : "old") : ""}`} aria-pressed=${at === place}
        title=${token.probability === null ? undefined : share(token.probability)} onClick=${() => onPlace(at)}>${token.text}</span>`)}
    </p>
  </section>`;
}

/** From an answer that is wrong to a fact that puts it right. */
function Wrong({ asked, column }) {
  const { may, why } = useScope("edit");
  const [answer, setAnswer] = useState("");
  const said = column.tokens.map((token) => token.text).join("").trim().split(/[.\n]/)[0];
  const submit = (event) => {
    event.preventDefault();
    go(to("facts", "new", { [asked.isChat ? "question" : "prompt"]: asked.text, object: answer }));
  };
  return html`<form class="row end wrong" onSubmit=${submit}>
    <label class="field"><span>This is wrong? It should say</span>
      <input class="reads" value=${answer} onInput=${(event) => setAnswer(event.target.value)} placeholder=${said.slice(0, 40)} /></label>
    <${Act} type="submit" may=${may} why=${why} disabled=${!answer.trim()}>Make it a fact …<//>
  </form>`;
}
