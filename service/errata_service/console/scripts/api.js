// The one module that knows the service's interface: its paths, how it is asked, how its events are read.

const API = "/api/v1";
const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 8000;

/** A problem document (RFC 9457), or an error in OpenAI's form, as something that can be thrown. */
export class Problem extends Error {
  /**
   * @param {number} status of the answer, 0 where none came
   * @param {any} told the answer's body
   * @param {string|null} request the id by which the service's log knows the request
   */
  constructor(status, told, request = null) {
    super(told?.detail || told?.error?.message || told?.title || `the service answered ${status}`);
    this.status = status;
    this.request = request;
    this.title = told?.title ?? "";
    this.kind = String(told?.type ?? "").split(":").pop();
    this.errors = told?.errors ?? [];
    this.misses = told?.misses ?? [];
  }
}

/** What the page knows of its connection. Told to whoever listens: `key` (one is asked for), `lost`, `found`. */
export const connection = new EventTarget();
let isLost = false;

function tell(name) {
  connection.dispatchEvent(new Event(name));
}

function noteLost(lost) {
  if (lost !== isLost) {
    isLost = lost;
    tell(lost ? "lost" : "found");
  }
}

/** The key lives as long as the tab. */
export const key = {
  get: () => sessionStorage.getItem("errata-key"),
  set(text) {
    sessionStorage.setItem("errata-key", text);
    tell("found");
  },
  forget() {
    sessionStorage.removeItem("errata-key");
    tell("found");
  },
};

function query(parameters = {}) {
  const given = Object.entries(parameters).filter(([, value]) => value !== undefined && value !== null && value !== "");
  return given.length ? `?${new URLSearchParams(given)}` : "";
}

/**
 * Ask the service, and throw a `Problem` where it refuses or does not answer.
 * @param {string} path
 * @param {{method?: string, body?: any, headers?: Record<string, string>, signal?: AbortSignal}} options
 */
async function send(path, { method = "GET", body, headers = {}, signal } = {}) {
  /** @type {Record<string, string>} */
  const sent = { ...headers };
  if (key.get()) sent.Authorization = `Bearer ${key.get()}`;
  if (body !== undefined) sent["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(path, { method, headers: sent, body: body && JSON.stringify(body), signal, cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    noteLost(true);
    throw new Problem(0, { detail: "the service does not answer" });
  }
  noteLost(false);
  if (response.ok) return response;
  const told = await response.json().catch(() => null);
  if (response.status === 401) tell("key");
  throw new Problem(response.status, told, response.headers.get("X-Request-ID"));
}

async function json(path, options) {
  const response = await send(path, options);
  return response.status === 204 ? null : response.json();
}

const get = (path, parameters, signal) => json(API + path + query(parameters), { signal });
const post = (path, body = {}, options = {}) => json(API + path, { method: "POST", body, ...options });
const put = (path, body) => json(API + path, { method: "PUT", body });
const remove = (path) => json(API + path, { method: "DELETE" });

/** Yield the server-sent events of an answer as { id, event, data }. */
async function* eventsOf(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let waiting = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      waiting += value.replaceAll("\r\n", "\n");
      const blocks = waiting.split("\n\n");
      waiting = blocks.pop() ?? "";
      for (const block of blocks) {
        const one = { id: null, event: "message", data: "" };
        for (const line of block.split("\n")) {
          const [, name, text] = line.match(/^(\w+): ?(.*)$/) ?? [];
          if (name === "data") one.data += (one.data && "\n") + text;
          else if (name) one[name] = text;
        }
        if (one.data) yield one;
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

const pause = (ms, signal) =>
  new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });

/**
 * Follow a job to its end, over lost connections and restarts of the service: what was seen is not told again.
 * @param {"edits"|"evaluations"|"traces"} kind
 * @param {(event: string, data: any, place?: string) => void} onEvent `progress`, `log`, `status`, and `lost` and
 *   `found`; the place of an event begins with its time, in milliseconds
 */
async function follow(kind, id, onEvent, signal) {
  let last = null;
  let wait = FIRST_PAUSE_MS;
  while (!signal.aborted) {
    try {
      const headers = last ? { "Last-Event-ID": last } : {};
      const response = await send(`${API}/${kind}/${id}/events`, { headers, signal });
      onEvent("found", null);
      for await (const { id: place, event, data } of eventsOf(response)) {
        wait = FIRST_PAUSE_MS;
        last = place ?? last;
        const told = JSON.parse(data);
        onEvent(event, told, place);
        if (event === "status" && hasEnded(told)) return;
      }
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof Problem && error.status >= 400 && error.status < 500 && error.status !== 429) throw error;
    }
    if (signal.aborted) return;
    onEvent("lost", null);
    await pause(wait, signal);
    wait = Math.min(2 * wait, LONGEST_PAUSE_MS);
  }
}

/** @param {{status: string}} job */
export const hasEnded = (job) => !["queued", "running"].includes(job.status);

/** A version as OpenAI's routes call it. */
const modelOf = (version) => (version === "active" ? "errata" : `errata@${version}`);

/**
 * Let a version write, and tell of each token as it comes: its text, its probability, and the likeliest in its place.
 * @param {{version: string|number, prompt?: string, messages?: object[], most: number}} asked
 * @param {(told: {text: string, probability: number|null, likeliest: {text: string, probability: number}[]}) => void} onToken
 * @returns {Promise<{version: string, reason: string|null}>} what wrote it, and why it ended
 */
async function write({ version, prompt, messages, most }, onToken, signal) {
  const shared = { model: modelOf(version), max_tokens: most, temperature: 0, stream: true };
  const body = messages
    ? { ...shared, messages, logprobs: true, top_logprobs: 5 }
    : { ...shared, prompt, logprobs: 5 };
  const response = await send(messages ? "/v1/chat/completions" : "/v1/completions", { method: "POST", body, signal });
  const end = { version: "", reason: null };
  for await (const { data } of eventsOf(response)) {
    if (data === "[DONE]") break;
    const told = JSON.parse(data);
    if (told.error) throw new Problem(500, told);
    end.version = told.model.split("@")[1] ?? "";
    const [choice] = told.choices;
    if (!choice) continue;
    end.reason = choice.finish_reason ?? end.reason;
    const text = messages ? (choice.delta?.content ?? "") : choice.text;
    const token = messages ? chatToken(choice.logprobs) : plainToken(choice.logprobs);
    if (text || token) onToken({ text, probability: null, likeliest: [], ...token });
  }
  return end;
}

function plainToken(logprobs) {
  if (!logprobs?.tokens.length) return null;
  const likeliest = Object.entries(logprobs.top_logprobs[0] ?? {}).map(([text, logprob]) => ({ text, probability: Math.exp(logprob) }));
  return { probability: Math.exp(logprobs.token_logprobs[0]), likeliest: likeliest.sort((a, b) => b.probability - a.probability) };
}

function chatToken(logprobs) {
  const [token] = logprobs?.content ?? [];
  if (!token) return null;
  const likeliest = token.top_logprobs.map((one) => ({ text: one.token, probability: Math.exp(one.logprob) }));
  return { probability: Math.exp(token.logprob), likeliest };
}

const newKey = () => crypto.randomUUID?.() ?? String(Math.random()).slice(2);

export const api = {
  key: (signal) => get("/key", {}, signal),
  keys: (signal) => get("/keys", { limit: 1000 }, signal),
  ready: (signal) => json("/readyz", { signal }),
  workers: (signal) => get("/workers", {}, signal),
  model: (signal) => get("/model", {}, signal),
  metrics: async (signal) => (await send("/metrics", { signal })).text(),

  write,
  /** What a version says after each of several prompts. */
  generate: (version, prompts, most, signal) =>
    post("/generate", { prompts, max_new_tokens: most, ...(version !== "active" && { version }) }, { signal }),

  facts: (parameters, signal) => get("/facts", parameters, signal),
  fact: (id, version, signal) => get(`/facts/${id}`, { version }, signal),
  checkFacts: (records, version, signal) => post("/facts/check", { records, version }, { signal }),

  edits: (parameters, signal) => get("/edits", parameters, signal),
  edit: (id, signal) => get(`/edits/${id}`, {}, signal),
  factsOfEdit: (id, parameters, signal) => get(`/edits/${id}/facts`, parameters, signal),
  sendEdit: (body) => post("/edits", body, { headers: { "Idempotency-Key": newKey() } }),
  retry: (id, body) => post(`/edits/${id}/retry`, body, { headers: { "Idempotency-Key": newKey() } }),
  cancel: (kind, id) => post(`/${kind}/${id}/cancel`),
  follow,

  versions: (parameters, signal) => get("/versions", parameters, signal),
  version: (number, signal) => get(`/versions/${number}`, {}, signal),
  diff: (before, after, parameters, signal) => get(`/versions/${before}/diff/${after}`, parameters, signal),
  activations: (parameters, signal) => get("/activations", parameters, signal),
  aliases: (signal) => get("/aliases", { limit: 1000 }, signal),
  activate: (number, note) => post(`/versions/${number}/activate`, { note: note || null }),
  rollBack: (to, note) => post("/rollback", { to, note: note || null }),
  rebuild: (number) => post(`/versions/${number}/rebuild`),
  name: (name, version) => put(`/aliases/${encodeURIComponent(name)}`, { version }),
  protectName: (name, note) => put(`/aliases/${encodeURIComponent(name)}/protection`, { note: note || null }),
  unprotectName: (name) => remove(`/aliases/${encodeURIComponent(name)}/protection`),
  takeName: (name) => remove(`/aliases/${encodeURIComponent(name)}`),
  /** A version's weights as a file: fetched with the key, which a link could not carry. */
  export: async (number, format) => (await send(`${API}/versions/${number}/export${query({ format })}`)).blob(),

  probes: (parameters, signal) => get("/probes", parameters, signal),
  putProbes: (probes) => put("/probes", { probes }),

  evaluations: (parameters, signal) => get("/evaluations", parameters, signal),
  evaluation: (id, signal) => get(`/evaluations/${id}`, {}, signal),
  /** What was measured of each record. */
  cases: async (id, signal) => (await (await send(`${API}/evaluations/${id}/cases`, { signal })).text()).split("\n").filter(Boolean).map((line) => JSON.parse(line)),
  evaluate: (body) => post("/evaluations", body, { headers: { "Idempotency-Key": newKey() } }),
  traces: (parameters, signal) => get("/traces", parameters, signal),
  trace: (id, signal) => get(`/traces/${id}`, {}, signal),
  traceResult: (id, signal) => get(`/traces/${id}/result`, {}, signal),
  sendTrace: (body) => post("/traces", body, { headers: { "Idempotency-Key": newKey() } }),
};
