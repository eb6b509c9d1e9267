// The names of a version: shown, given, protected, unprotected, taken away.
import { api } from "../api.js";
import { useFetched, useScope } from "../session.js";
import { html, useState } from "../ui.js";
import { Confirm } from "./dialog.js";
import { nameOf } from "./versions.js";
import { Act, Tag, Time } from "./words.js";

/** All names of versions, fetched now and then. */
export const useAliases = () => useFetched((signal) => api.aliases(signal), [], { every: 10_000 });

/** The names of a version as tags; `aliases` say which are protected, where they are there already. */
export const NameTags = ({ version, aliases }) => version.aliases.map((name) => {
  const isProtected = aliases?.some((alias) => alias.name === name && alias.protection);
  return html`<${Tag} key=${name} tone="now">${name}${isProtected && html`<span class="soft"> · protected</span>`}<//> `;
});

/** Each name of a version with who protected it and why, and what can be done with it. */
export function Names({ version, aliases, onChange }) {
  const admin = useScope("admin");
  const [asks, setAsks] = useState({ what: "", alias: null });
  const own = (aliases ?? []).filter((alias) => alias.version === version.id);
  if (!own.length) return null;
  const { what, alias } = asks;
  const close = () => (setAsks({ what: "", alias: null }), onChange());
  return html`<section class="stack" aria-label="Names"><h2>Names</h2>
    <ul class="stack">${own.map((alias) => html`<li key=${alias.name} class="row"><${Tag} tone="now">${alias.name}<//>
      ${alias.protection
        ? html`<span>protected ${alias.protection.who && `by ${alias.protection.who} `}since <${Time} at=${alias.protection.at} /> ${alias.protection.note && html`“${alias.protection.note}”`}</span>
          <${Act} class="grave" ...${admin} onClick=${() => setAsks({ what: "unprotect", alias })}>Unprotect ${alias.name} …<//>`
        : html`<${Act} ...${admin} onClick=${() => setAsks({ what: "protect", alias })}>Protect ${alias.name} …<//>
          <${Act} class="grave" ...${admin} onClick=${() => setAsks({ what: "take", alias })}>Take ${alias.name} away …<//>`}</li>`)}</ul>
    ${what === "protect" && html`<${Confirm} title=${`Protect “${alias.name}”?`} yes="Protect it" onClose=${close} onYes=${(why) => api.protectName(alias.name, why)}>
      <p>It stays the name of ${nameOf(version.id)}: nobody moves it or takes it away, nor deletes the version, until somebody who may activate unprotects it.</p><//>`}
    ${what === "unprotect" && html`<${Confirm} title=${`Unprotect “${alias.name}”?`} yes="Unprotect it" grave asksWhy=${false} onClose=${close} onYes=${() => api.unprotectName(alias.name)}>
      <p>${alias.protection.who ?? "Somebody"} protected it <${Time} at=${alias.protection.at} />${alias.protection.note ? html`, because: “${alias.protection.note}”` : " and gave no reason"}.</p>
      <p>From then on it can be moved to another version and taken away.</p><//>`}
    ${what === "take" && html`<${Confirm} title=${`Take “${alias.name}” away?`} yes="Take it away" grave asksWhy=${false} onClose=${close} onYes=${() => api.takeName(alias.name)}>
      <p>Whoever asks for “${alias.name}” gets an error from then on. ${nameOf(version.id, true)} stays, and can be asked for by its number.</p><//>`}
  </section>`;
}

/** Give a version a name, which may be another version's now. */
export function GiveName({ version, aliases, onClose }) {
  const [name, setName] = useState("");
  const taken = aliases?.find((alias) => alias.name === name && alias.version !== version.id);
  return html`<${Confirm} title=${`Name ${nameOf(version.id)}`} yes=${taken ? "Move the name here" : "Give it this name"} asksWhy=${false} onClose=${onClose} onYes=${() => api.name(name, version.id)}>
    <p>A name can be asked for in the place of the number, and keeps the version’s weights from being dropped.</p>
    <label class="field"><span>Name</span><input required pattern="[A-Za-z][A-Za-z0-9_\\-]{0,63}" value=${name} onInput=${(event) => setName(event.target.value)} list="names" autocomplete="off" placeholder="production" /></label>
    <datalist id="names">${aliases?.map((alias) => html`<option value=${alias.name} />`)}</datalist>
    ${taken && html`<p class="notice warn">“${name}” stands for ${nameOf(taken.version)} now${taken.protection ? `, and is protected: it can be moved once it is unprotected, on that version’s page.` : `. Whoever asks for that name gets this version from then on.`}</p>`}
  <//>`;
}
