// The console: its head, its navigation, the screen that the address names, and the key that is asked for.
import { key } from "./api.js";
import { Dialog } from "./parts/dialog.js";
import { VersionLink } from "./parts/versions.js";
import { Fault, Waits } from "./parts/words.js";
import { go, to, useRoute } from "./router.js";
import { begin, useSession } from "./session.js";
import { html, render, useEffect, useRef, useState } from "./ui.js";

const THEMES = { auto: "◐ auto", light: "☀ light", dark: "☾ dark" };
/** The screens by the first part of their address; `one` shows one of what `all` lists. Each is fetched when it is first
 * needed, or once the page has nothing else to do, so that it is there though the service should be away later. */
const SCREENS = [
  { name: "ask", said: "Ask", all: () => import("./screens/ask.js").then(({ Ask }) => Ask) },
  {
    name: "facts", said: "Facts", all: () => import("./screens/facts.js").then(({ Facts }) => Facts),
    one: () => import("./screens/fact.js").then(({ Fact }) => Fact), more: { new: () => import("./screens/new_facts.js").then(({ NewFacts }) => NewFacts) },
  },
  { name: "edits", said: "Edits", all: () => import("./screens/edits.js").then(({ Edits }) => Edits), one: () => import("./screens/edit.js").then(({ Edit }) => Edit) },
  {
    name: "versions", said: "Versions", all: () => import("./screens/versions.js").then(({ Versions }) => Versions),
    one: () => import("./screens/version.js").then(({ Version }) => Version), more: { compare: () => import("./screens/compare.js").then(({ Compare }) => Compare) },
  },
  { name: "review", said: "Review", all: () => import("./screens/review.js").then(({ Review }) => Review), apart: true },
  { name: "probes", said: "Probes", all: () => import("./screens/probes.js").then(({ Probes }) => Probes) },
  { name: "evaluations", said: "Evaluations", all: () => import("./screens/evaluations.js").then(({ Evaluations }) => Evaluations), one: () => import("./screens/evaluation.js").then(({ Evaluation }) => Evaluation), apart: true },
  { name: "traces", said: "Traces", all: () => import("./screens/traces.js").then(({ Traces }) => Traces), one: () => import("./screens/trace.js").then(({ Trace }) => Trace) },
  { name: "state", said: "State", all: () => import("./screens/state.js").then(({ State }) => State), apart: true },
];
const FETCH_REST_MS = 1500;
const fetched = new Map();

/** A screen, once it is there. */
function Screen({ load, ...given }) {
  const [state, setState] = useState({ One: fetched.get(load) ?? null, problem: null });
  useEffect(() => {
    if (!state.One) load().then((One) => (fetched.set(load, One), setState({ One, problem: null })), (problem) => setState({ One: null, problem }));
  }, [load]);
  if (state.problem) return html`<${Fault} problem=${state.problem} title="This screen could not be fetched: load the page again" />`;
  return state.One ? html`<${state.One} ...${given} />` : html`<${Waits} what="the screen" />`;
}

function Console() {
  const { path, query } = useRoute();
  const { needsKey, isLost } = useSession();
  const main = useRef(null);
  const [first = "ask"] = path;
  const { said, all, one = all, more = {} } = SCREENS.find(({ name }) => name === first) ?? SCREENS[0];
  const load = path.length > 1 ? (more[path[1]] ?? one) : all;
  const place = path.join("/") || "ask";
  const isFirst = useRef(true);
  useEffect(() => {
    document.title = `${[said, ...path.slice(1)].join(" · ")} – Errata`;
    if (!isFirst.current) main.current.focus({ preventScroll: true });
    isFirst.current = false;
    scrollTo(0, 0);
  }, [place]);
  return html`<div class="page">
    <a class="skip" href="#main" onClick=${(event) => (event.preventDefault(), main.current.focus())}>To the content</a>
    <${Head} />
    ${isLost && html`<p class="lost" role="status">The service does not answer. What you see is as it was; this page goes on by itself when it is back.</p>`}
    <nav class="nav" aria-label="Screens"><${Links} first=${first} /></nav>
    <main class="main" id="main" ref=${main} tabindex="-1"><${Screen} key=${place} load=${load} path=${path.slice(1)} query=${query} /></main>
    ${needsKey && html`<${AskForKey} />`}
  </div>`;
}

function Links({ first }) {
  const { running } = useSession();
  return html`<ul>${SCREENS.map(({ name, said, apart }) => html`<li key=${name} class=${apart ? "apart" : ""}>
    <a href=${to(name)} aria-current=${name === first ? "page" : undefined}>${said}${name === "edits" && running.length > 0 && html`<span class="tag now">${running.length}</span>`}</a></li>`)}</ul>`;
}

/** What serves, what runs, who asks, light or dark. */
function Head() {
  const { ready, notReady, running, who } = useSession();
  const [theme, setTheme] = useState(localStorage.getItem("errata-theme") ?? "auto");
  useEffect(() => {
    document.documentElement.dataset.theme = theme;
    localStorage.setItem("errata-theme", theme);
  }, [theme]);
  const next = { auto: "light", light: "dark", dark: "auto" }[theme];
  return html`<header class="head">
    <a class="brand" href=${to("ask")}>Err<del aria-hidden="true"></del>ata</a>
    <div class="pulse" aria-live="polite">
      ${notReady ? html`<span class="tag warn">${notReady}</span>` : ready && html`<span>serves <${VersionLink} of=${ready.version} /></span>`}
      ${ready?.should_serve !== undefined && html`<span class="tag bad">should serve version ${ready.should_serve}: ${ready.reason}</span>`}
      ${ready?.outages?.map((outage) => html`<span class="tag warn">${outage}</span>`)}
      ${ready?.workers === 0 && html`<span class="tag warn">no worker: edits wait</span>`}
      ${running.length > 0 && html`<a href=${to("edits", running[0].id)}>${running.length === 1 ? "one edit" : `${running.length} edits`} under way</a>`}
      ${who?.name && html`<span>key “${who.name}”: ${who.scopes.join(", ")} <button type="button" class="plain" onClick=${() => key.forget()}>forget it</button></span>`}
    </div>
    <button type="button" class="plain small" onClick=${() => setTheme(next)} title="Light, dark, or as the system is"><span class="hidden-text">Light or dark: </span>${THEMES[theme]}</button>
  </header>`;
}

function AskForKey() {
  const [text, setText] = useState("");
  const isRefused = key.get() !== null;
  const submit = (event) => {
    event.preventDefault();
    key.set(text.trim());
  };
  return html`<${Dialog} title="An API key is needed" onClose=${() => {}}>
    <form onSubmit=${submit}>
      <h2>An API key is needed</h2>
      <p>This service asks for keys. <code>errata new-key</code> makes one on the machine that it runs on. Yours is kept for this tab alone.</p>
      ${isRefused && html`<p class="notice bad" role="alert">The service does not know that key.</p>`}
      <label class="field"><span>Key</span><input type="password" autocomplete="off" spellcheck="false" value=${text} onInput=${(event) => setText(event.target.value)} /></label>
      <div class="row"><button type="submit" class="first" disabled=${!text.trim()}>Go on</button></div>
    </form>
  <//>`;
}

if (!location.hash) go(to("ask"), { replace: true });
begin();
render(html`<${Console} />`, document.getElementById("console"));
setTimeout(() => SCREENS.flatMap(({ all, one, more = {} }) => [all, one, ...Object.values(more)]).forEach((load) => load?.().catch(() => {})), FETCH_REST_MS);
