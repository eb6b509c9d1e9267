// Where one is in the console: `#/facts/new?subject=…`. It stands behind `#`, since `/facts` is the service's own.
import { useEffect, useState } from "./ui.js";

/** @returns {{path: string[], query: Record<string, string>}} */
function here() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  return { path: path.split("/").filter(Boolean).map(decodeURIComponent), query: Object.fromEntries(new URLSearchParams(query)) };
}

/** The address of a place: `to("versions", 3)`, `to("facts", { text: "Sony" })`. */
export function to(...parts) {
  const query = typeof parts.at(-1) === "object" ? parts.pop() : {};
  const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== null && value !== "");
  const path = parts.map((part) => encodeURIComponent(String(part))).join("/");
  return `#/${path}${given.length ? `?${new URLSearchParams(given)}` : ""}`;
}

/** Go somewhere. With `replace`, the back button passes over where one was. */
export function go(address, { replace = false } = {}) {
  if (replace) {
    history.replaceState(null, "", address);
    dispatchEvent(new HashChangeEvent("hashchange"));
  } else {
    location.hash = address;
  }
}

export function useRoute() {
  const [route, setRoute] = useState(here);
  useEffect(() => {
    const look = () => setRoute(here());
    addEventListener("hashchange", look);
    return () => removeEventListener("hashchange", look);
  }, []);
  return route;
}
