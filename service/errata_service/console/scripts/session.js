// What all screens share: who asks and what that key may do, which version serves, and what is fetched and kept fresh.
import { Problem, api, connection } from "./api.js";
import { sample } from "./figures.js";
import { useCallback, useEffect, useRef, useState } from "./ui.js";

const PULSE_MS = 4000;

/** @type {{who: {name: string|null, scopes: string[]}|null, needsKey: boolean, isLost: boolean, turn: number, beat: number, ready: any, notReady: string|null, running: any[]}} */
let session = { who: null, needsKey: false, isLost: false, turn: 0, beat: 0, ready: null, notReady: null, running: [] };
const listeners = new Set();

function change(changes) {
  if (Object.entries(changes).every(([name, value]) => session[name] === value)) return;
  session = { ...session, ...changes };
  for (const listener of listeners) listener(session);
}

export function useSession() {
  const [state, setState] = useState(session);
  useEffect(() => {
    listeners.add(setState);
    setState(session);
    return () => listeners.delete(setState);
  }, []);
  return state;
}

/** Whether the key may do what a scope allows, and why it may not. */
export function useScope(scope) {
  const { who } = useSession();
  const may = who === null || who.scopes.includes(scope);
  return { may, why: may ? undefined : `The key “${who?.name}” may not do this: it lacks the scope ${scope}.` };
}

async function lookWho() {
  try {
    change({ who: await api.key(), needsKey: false });
  } catch (error) {
    if (!(error instanceof Problem) || error.status !== 401) setTimeout(lookWho, PULSE_MS);
  }
}

/** One look at what serves and what runs. */
export async function pulse() {
  try {
    const ready = await api.ready();
    change({ ready: same(session.ready, ready), notReady: null });
  } catch (error) {
    change({ notReady: error.message });
  }
  if (session.needsKey || session.isLost) return;
  try {
    const { data } = await api.edits({ limit: 20 });
    change({ running: same(session.running, data.filter((edit) => ["queued", "running"].includes(edit.status))) });
  } catch {
    // the screens say it
  }
}

/** Return what was known where it is the same, so that nothing is drawn anew for it. */
function same(before, after) {
  const plain = ({ news_age_s: _, ...rest }) => rest;
  const text = (value) => JSON.stringify(Array.isArray(value) || !value ? value : plain(value));
  return text(before) === text(after) ? before : after;
}

export function begin() {
  connection.addEventListener("key", () => change({ needsKey: true }));
  connection.addEventListener("lost", () => change({ isLost: true }));
  connection.addEventListener("found", () => {
    change({ isLost: false, turn: session.turn + 1 });
    lookWho();
  });
  lookWho();
  const beat = async () => {
    if (!document.hidden) {
      await pulse();
      await sample().catch(() => {}); // that nobody answers is said already
      change({ beat: session.beat + 1 });
    }
    setTimeout(beat, PULSE_MS);
  };
  beat();
}

/**
 * Fetch something, again when `wanted` changes, when a key is given, and when the service is back. What was there stays
 * meanwhile, so that nothing jumps.
 * @template T
 * @param {(signal: AbortSignal) => Promise<T>} load
 * @param {any[]} wanted what it depends on
 * @param {{every?: number}} options milliseconds between two looks
 */
export function useFetched(load, wanted, { every } = {}) {
  const session = useSession();
  const [state, setState] = useState({ data: /** @type {T|null} */ (null), problem: null, waits: true });
  const [turn, setTurn] = useState(0);
  const loaded = useRef("");
  const again = useCallback(() => setTurn((number) => number + 1), []);
  useEffect(() => {
    const stop = new AbortController();
    const name = JSON.stringify(wanted);
    if (loaded.current !== name) setState((state) => ({ ...state, waits: true }));
    const look = async () => {
      try {
        const data = await load(stop.signal);
        loaded.current = name;
        if (!stop.signal.aborted) setState({ data, problem: null, waits: false });
      } catch (problem) {
        if (!stop.signal.aborted) setState((state) => ({ ...state, problem, waits: false }));
      }
    };
    look();
    const timer = every ? setInterval(() => !document.hidden && look(), every) : 0;
    return () => {
      clearInterval(timer);
      stop.abort();
    };
  }, [JSON.stringify(wanted), turn, session.turn, every]);
  return { ...state, again };
}

/** Do something that the service is asked for: whether it is under way, and what went wrong. */
export function useAction(act) {
  const [state, setState] = useState({ busy: false, problem: null });
  const run = async (...given) => {
    setState({ busy: true, problem: null });
    try {
      const answer = await act(...given);
      setState({ busy: false, problem: null });
      pulse();
      return answer;
    } catch (problem) {
      setState({ busy: false, problem });
      return undefined;
    }
  };
  return { ...state, run };
}
