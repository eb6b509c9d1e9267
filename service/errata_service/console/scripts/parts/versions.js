// How versions are named and picked.
import { api } from "../api.js";
import { to } from "../router.js";
import { useFetched } from "../session.js";
import { html } from "../ui.js";

const NEWEST = 100;

/**
 * How a version is said that is called by its number or by a name: `base`, `version 3`, `production`; where a heading or
 * a sentence begins with it, `Base` and `Version 3`, and a name as it is.
 */
export function nameOf(called, begins = false) {
  if (String(called) === "0" || called === "base") return begins ? "Base" : "base";
  if (called === "active") return begins ? "Active" : "active";
  return /^\d+$/.test(called) ? `${begins ? "V" : "v"}ersion ${called}` : String(called);
}

/** What was picked as a body has it: a number as such, a name as it is. */
export const versionOf = (picked) => (/^\d+$/.test(picked) ? Number(picked) : picked);

/** Whether a version is the one that is called by a number or a name. */
export const isCalled = (version, called) => [String(version.id), nameOf(version.id), ...version.aliases, version.status === "active" && "active"].includes(String(called));

export const VersionLink = ({ of }) => html`<a class="short" href=${to("versions", of)}>${nameOf(of)}</a>`;

/** The newest versions, fetched now and then. */
export const useVersions = () => useFetched((signal) => api.versions({ limit: NEWEST }, signal), [], { every: 10_000 });

/** A choice of a version: `base`, `active`, a name or a number. */
export function VersionPicker({ label, value: given, onChange }) {
  const value = String(given) === "0" ? "base" : String(given);
  const { data } = useVersions();
  const versions = data?.data ?? [];
  const names = versions.flatMap((version) => version.aliases.map((name) => [name, version.id]));
  const known = ["active", "base", ...names.map(([name]) => name), ...versions.map((version) => String(version.id))];
  return html`<label class="field"><span>${label}</span>
    <select value=${value} onChange=${(event) => onChange(event.target.value)}>
      <option value="active">active</option>
      <option value="base">base</option>
      ${!known.includes(value) && html`<option value=${value}>version ${value}</option>`}
      ${names.map(([name, number]) => html`<option value=${name}>${name} (version ${number})</option>`)}
      ${versions.filter((version) => version.id !== 0 && !version.dropped).map((version) => html`<option value=${String(version.id)}>version ${version.id}${version.status === "rejected" ? " (rejected)" : ""}</option>`)}
    </select>
  </label>`;
}
