// Small parts that say one thing each: a status, a time, a problem, that there is nothing yet.
import { cloneElement, html, useId } from "../ui.js";

const TONES = {
  active: "now", running: "now", succeeded: "good", ready: "", queued: "", rejected: "warn", failed: "bad", cancelled: "",
};

export const Tag = ({ tone = "", children }) => html`<span class="tag ${tone}">${children}</span>`;

export const Status = ({ of }) => html`<${Tag} tone=${TONES[of] ?? ""}>${of}<//>`;

/** A time as it is here, with UTC behind it. */
export function Time({ at, short = false }) {
  if (!at) return "–";
  const time = new Date(at);
  const isToday = time.toDateString() === new Date().toDateString();
  /** @type {Intl.DateTimeFormatOptions} */
  const clock = { hour: "2-digit", minute: "2-digit", second: short ? undefined : "2-digit" };
  /** @type {Intl.DateTimeFormatOptions} */
  const day = { year: "numeric", month: "short", day: "numeric" };
  const said = isToday ? time.toLocaleTimeString(undefined, clock) : time.toLocaleString(undefined, { ...day, ...clock });
  return html`<time dateTime=${time.toISOString()} title=${`${time.toISOString().replace("T", " ").slice(0, 19)} UTC`}>${said}</time>`;
}

/** What went wrong, in the service's words, with each place that it names. */
export function Fault({ problem, title }) {
  if (!problem) return null;
  const errors = problem.errors ?? [];
  return html`<div class="notice bad stack" role="alert">
    <p><strong>${title ?? (problem.status === 403 ? "Not allowed" : problem.title || "That did not work")}.</strong>${" "}${problem.message}</p>
    ${problem.status >= 500 && problem.request && html`<p class="small">The service’s log says more, under <code>${problem.request}</code>.</p>`}
    ${errors.length > 0 && html`<ul>${errors.slice(0, 8).map((error) => html`<li class="small"><code>${error.pointer || "/"}</code> ${error.detail}</li>`)}</ul>`}
  </div>`;
}

/** That there is nothing, and what one does about it. */
export const Empty = ({ title, children }) => html`<div class="empty"><strong>${title}</strong>${children}</div>`;

/** A heading of a screen, with what can be done there. */
export const Title = ({ children, actions }) => html`<div class="row apart"><h1 tabindex="-1">${children}</h1><div class="row">${actions}</div></div>`;

/** That something is being fetched, in words, once it takes a while. */
export const Waits = ({ what }) => html`<p class="soft" role="status">Fetching ${what} …</p>`;

/** One of several ways to look, each of which is a button. */
export function Switch({ label, options, value, onChange }) {
  return html`<div class="switch" role="group" aria-label=${label}>
    ${options.map(([name, said]) => html`<button type="button" aria-pressed=${value === name} onClick=${() => onChange(name)}>${said}</button>`)}
  </div>`;
}

/** A button for what the key may not do says so, and does nothing. */
export function Act({ may = true, why, busy = false, class: kind = "", children, ...rest }) {
  return html`<button type="button" ...${rest} class=${kind} disabled=${!may || busy || rest.disabled} title=${why ?? rest.title}>${children}</button>`;
}

/** A field with its name above it, what helps below it, and what is wrong with it. */
export function Field({ label, hint, fault, children }) {
  const id = useId();
  const described = hint || fault ? `${id}-more` : undefined;
  return html`<div class="field"><label for=${id}>${label}</label>
    ${cloneElement(children, { id, "aria-describedby": described, "aria-invalid": fault ? "true" : undefined })}
    ${described && html`<small id=${described}>${hint && html`<span class="soft">${hint}</span>`}${fault && html`${" "}<span class="fault">${fault}</span>`}</small>`}</div>`;
}
