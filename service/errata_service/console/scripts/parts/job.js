// A job as it is followed: its record, how far it is, and its log, over lost connections and restarts.
import { api, hasEnded } from "../api.js";
import { pulse, useFetched, useSession } from "../session.js";
import { html, useEffect, useState } from "../ui.js";
import { between, count, seconds } from "../words.js";
import { Time } from "./words.js";

const MOST_LINES = 500;

/** @param {"edits"|"evaluations"|"traces"} kind */
export function useJob(kind, id) {
  const [state, setState] = useState({ job: null, problem: null, progress: null, log: [], isLost: false });
  const { turn } = useSession();
  useEffect(() => {
    const stop = new AbortController();
    const change = (changes) => !stop.signal.aborted && setState((state) => ({ ...state, ...changes(state) }));
    change(() => ({ problem: null, log: [], progress: null }));
    const onEvent = (event, data, place) => {
      if (event === "status") {
        change(() => ({ job: data, isLost: false }));
        if (hasEnded(data)) pulse();
      } else if (event === "progress") change(() => ({ progress: data }));
      else if (event === "log") change(({ log }) => ({ log: [...log, { ...data, at: place && new Date(Number(place.split("-")[0])) }].slice(-MOST_LINES) }));
      else change(() => ({ isLost: event === "lost" }));
    };
    api[kind.slice(0, -1)](id, stop.signal)
      .then((job) => (change(() => ({ job, progress: job.progress })), api.follow(kind, id, onEvent, stop.signal)))
      .catch((problem) => change(() => ({ problem })));
    return () => stop.abort();
  }, [kind, id, turn]);
  return state;
}

/** The stages of a job with the one it is in, how long that takes, and the log. */
export function Followed({ job, stages, progress, log, isLost }) {
  const ended = hasEnded(job);
  const stage = ended ? null : (progress?.stage ?? null);
  const { data: work } = useFetched((signal) => (ended ? Promise.resolve(null) : api.workers(signal)), [job.id, job.status], { every: ended ? 0 : 5000 });
  const hands = (work?.data ?? []).filter((worker) => worker.job === job.id).map((worker) => worker.name);
  const place = stages.findIndex(([name]) => name === stage);
  return html`<section class="stack" aria-label="How far it is">
    ${!ended && html`<ol class="stages">${stages.map(([name, said], at) => html`<li key=${name} class=${at < place ? "done" : at === place ? "now" : ""} aria-current=${at === place ? "step" : undefined}>${said}</li>`)}</ol>
      <div class="row small">
        <progress class="progress" max=${progress?.total || 1} value=${progress ? progress.done : 0} aria-label="Of this stage"></progress>
        <span class="numbers" role="status">${isLost ? "The service does not answer; this goes on when it is back." : job.status === "queued" ? "It waits for a worker." : progress ? `${count(progress.done)} of ${count(progress.total)}${progress.eta_s ? `, ${seconds(progress.eta_s)} left` : ""}` : "A worker has begun."}</span>
        ${hands.length > 0 && html`<span class="soft">in the hands of <code>${hands.join(", ")}</code></span>`}
        ${job.attempts > 1 && html`<span class="soft">attempt ${job.attempts}</span>`}
        ${job.started_at && html`<span class="soft">began <${Time} at=${job.started_at} /></span>`}
      </div>`}
    ${ended && job.finished_at && html`<p class="small soft">Ended <${Time} at=${job.finished_at} />${job.started_at && html` after ${seconds(between(job.started_at, job.finished_at))}`}${job.attempts > 1 && html`, in ${job.attempts} attempts`}.</p>`}
    ${log.length > 0 && html`<details open=${!ended}><summary>Log (${log.length})</summary>
      <ol class="log" tabindex="0" aria-label="Log">${log.map((line, at) => html`<li key=${at} class=${line.level === "info" ? "" : "fault"}>${line.at && html`<span class="soft"><${Time} at=${line.at} /></span>`} ${line.message}</li>`)}</ol></details>`}
  </section>`;
}
