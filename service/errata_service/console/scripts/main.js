// The console: its head, its navigation, the screen that the address names, and the key that is asked for.
import { key } from "./api.js";
import { Dialog } from "./parts/dialog.js";
import { VersionLink } from "./parts/versions.js";
import { go, to, useRoute } from "./router.js";
import { Ask } from "./screens/ask.js";
import { Compare } from "./screens/compare.js";
import { Edit } from "./screens/edit.js";
import { Edits } from "./screens/edits.js";
import { Evaluation } from "./screens/evaluation.js";
import { Evaluations } from "./screens/evaluations.js";
import { Fact } from "./screens/fact.js";
import { Facts } from "./screens/facts.js";
import { NewFacts } from "./screens/new_facts.js";
import { Probes } from "./screens/probes.js";
import { Review } from "./screens/review.js";
import { State } from "./screens/state.js";
import { Trace } from "./screens/trace.js";
import { Traces } from "./screens/traces.js";
import { Version } from "./screens/version.js";
import { Versions } from "./screens/versions.js";
import { begin, useSession } from "./session.js";
import { html, render, useEffect, useRef, useState } from "./ui.js";

const THEMES = { auto: "as the system", light: "light", dark: "dark" };
/** The screens by the first part of their address; `One` shows one of what `All` lists. */
const SCREENS = [
  { name: "ask", said: "Ask", All: Ask },
  { name: "facts", said: "Facts", All: Facts, One: Fact, more: { new: NewFacts } },
  { name: "edits", said: "Edits", All: Edits, One: Edit },
  { name: "versions", said: "Versions", All: Versions, One: Version, more: { compare: Compare } },
  { name: "review", said: "Review", All: Review, apart: true },
  { name: "probes", said: "Probes", All: Probes },
  { name: "evaluations", said: "Evaluations", All: Evaluations, One: Evaluation, apart: true },
  { name: "traces", said: "Traces", All: Traces, One: Trace },
  { name: "state", said: "State", All: State, apart: true },
];

function Console() {
  const { path, query } = useRoute();
  const { needsKey, isLost } = useSession();
  const main = useRef(null);
  const [first = "ask"] = path;
  const { said, All, One = All, more = {} } = SCREENS.find(({ name }) => name === first) ?? SCREENS[0];
  const Screen = path.length > 1 ? (more[path[1]] ?? One) : All;
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
    <main class="main" id="main" ref=${main} tabindex="-1"><${Screen} key=${place} path=${path.slice(1)} query=${query} /></main>
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
    <a class="brand" href=${to("ask")}>Err<del>or</del>ata</a>
    <div class="pulse" aria-live="polite">
      ${notReady ? html`<span class="tag warn">${notReady}</span>` : ready && html`<span>serves <${VersionLink} of=${ready.version} /></span>`}
      ${ready?.should_serve !== undefined && html`<span class="tag bad">should serve version ${ready.should_serve}: ${ready.reason}</span>`}
      ${ready?.outages?.map((outage) => html`<span class="tag warn">${outage}</span>`)}
      ${running.length > 0 && html`<a href=${to("edits", running[0].id)}>${running.length === 1 ? "one edit" : `${running.length} edits`} under way</a>`}
      ${who?.name && html`<span>key “${who.name}”: ${who.scopes.join(", ")} <button type="button" class="plain" onClick=${() => key.forget()}>forget it</button></span>`}
    </div>
    <button type="button" class="plain small" onClick=${() => setTheme(next)} title=${`Light or dark: ${THEMES[theme]}`}><span class="hidden-text">Light or dark: </span>${THEMES[theme]}</button>
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
