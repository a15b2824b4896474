/** Jobs: asked for, followed while they run, cancelled, found again after the page was loaded anew. */

/** @import {Asked, Job, JobKind, Mask, Region} from "./types" */
import { api, at } from "./api.js";
import { button, fill, make, part, say, settle, tell, tellFault } from "./dom.js";
import { textRead, wishAsked } from "./instruction.js";
import { pngOf } from "./masks.js";
import { get, set, watch } from "./store.js";
import { readFrom } from "./understanding.js";
import { duration, expectedSeconds } from "./durations.js";

/** Masks that the server has, so that one goes there once. @type {WeakMap<Mask, string>} */
const sent = new WeakMap();
/** Jobs that this page asked for and whose end it has not shown yet. @type {Set<string>} */
const awaited = new Set();
/** @type {((job: Job) => void)[]} */
const ended = [];

/** @param {(job: Job) => void} tell called for each job of this page that is done */
export const whenDone = (tell) => ended.push(tell);

export const isOver = (/** @type {Job} */ job) => !["queued", "running"].includes(job.state);

/** @param {string} photo @param {Region} region @returns {Promise<string | null>} the id of its mask; null: predicted */
async function maskId(photo, { mask, caption }) {
  if (!mask) return null;
  const known = sent.get(mask);
  if (known) return known;
  const saved = mask.segments?.length
    ? await api.maskOfSegments(photo, mask.segments)
    : await api.addMask(photo, await pngOf(mask), `${caption}.png`);
  sent.set(mask, saved.id);
  return saved.id;
}

/** @param {Mask} mask @param {string} id what the server calls a mask that came from there */
export const rememberMask = (mask, id) => sent.set(mask, id);

/**
 * What is asked with a job, apart from its kind.
 * @returns {Promise<Omit<Asked, "kind"> | null>} null, after a word, where there is nothing to ask
 */
export async function asked() {
  await textRead();
  const { photo, wish, fault, options } = get();
  if (!photo) return null;
  if (fault) {
    tell(fault.message, "fault");
    part("instruction", HTMLTextAreaElement).focus();
    return null;
  }
  if (wish.regions.length === 0) {
    tell("Say what to restore first: click on it, brush over it, or write it.", "fault");
    part("instruction", HTMLTextAreaElement).focus();
    return null;
  }
  const masks = await Promise.all(wish.regions.map((region) => maskId(photo.id, region)));
  const { careful: _, ...settings } = options.settings; // of a rest that is left or blurred nothing is held closer
  return {
    photo: photo.id,
    instruction: wishAsked(),
    ...readFrom(),
    masks,
    seed: options.seed,
    settings: options.rest === "keep" || wish.bokeh ? settings : options.settings,
    ...(options.rest === "keep" ? { rest: options.rest, feather: options.feather } : {}),
  };
}

/** @param {JobKind} kind @param {Partial<Asked>} [more] */
export async function start(kind, more = {}) {
  try {
    const wanted = await asked();
    if (!wanted) return;
    // Where the model finds the regions does not depend on where they were marked.
    const job = await api.addJob({ ...wanted, ...(kind === "mask" ? { masks: [], rest: undefined, feather: undefined } : {}), kind, ...more });
    awaited.add(job.id);
    settle();
    take(job);
  } catch (error) {
    tellFault(error);
  }
}

/** A job as the server has it now. @param {Job} job */
export function take(job) {
  const before = get().jobs[job.id];
  if (before && isOver(before) && !isOver(job)) return; // an answer that events have overtaken
  set({ jobs: { ...get().jobs, [job.id]: job } });
  if (!awaited.has(job.id) || !isOver(job)) return;
  awaited.delete(job.id);
  if (job.state === "done") {
    say("Done");
    for (const tellOf of ended) tellOf(job);
  } else if (job.state === "failed") {
    tell(job.error || "The job failed.", "fault");
  } else {
    say(`The job was ${job.state}`);
  }
}

/** The end of the job is told here, as of one that this page has asked for. @param {Job} job */
export const awaitEnd = (job) => awaited.add(job.id);

/** Jobs that are to end: a pass of the networks that has begun is still finished. @type {Set<string>} */
const stopping = new Set();

/** @param {string} id */
export const stopsSoon = (id) => stopping.add(id);

/** @param {string} id */
async function stop(id) {
  stopsSoon(id);
  drawRunning();
  await follow(() => api.cancel(id));
}

/** @param {() => Promise<Job>} ask */
export async function follow(ask) {
  try {
    const job = await ask();
    settle();
    if (!isOver(job)) awaited.add(job.id);
    take(job);
  } catch (error) {
    tellFault(error);
  }
}

/** @param {string} id */
export async function forget(id) {
  try {
    await api.deleteJob(id);
    const { [id]: _, ...jobs } = get().jobs;
    set({ jobs, shown: get().shown?.job === id ? null : get().shown });
  } catch (error) {
    tellFault(error);
  }
}

/** @type {{jobs: object, places: Map<string, number>}} */
let waiting = { jobs: {}, places: new Map() };

/**
 * How many of this person's jobs are before it, with the one that is being done. The server tells of a job when that job
 * itself changes, so that its position may be of a while ago.
 * @param {Job} job
 */
function placeOf(job) {
  const { jobs } = get();
  if (waiting.jobs !== jobs) {
    const open = Object.values(jobs).filter((one) => !isOver(one));
    open.sort((a, b) => Number(b.state === "running") - Number(a.state === "running") || a.created - b.created);
    waiting = { jobs, places: new Map(open.map((one, place) => [one.id, place])) };
  }
  return waiting.places.get(job.id) ?? 0;
}

/** What a running job does, in a line. @param {Job} job */
export function doing(job) {
  if (stopping.has(job.id)) return "Stopping";
  if (job.state === "queued") {
    const before = placeOf(job) || job.position || 0;
    return before ? `Waiting, ${before} before it` : "Waiting";
  }
  const left = job.expected_seconds && job.seconds !== null ? Math.max(0, job.expected_seconds - job.seconds) : null;
  const step = job.steps > 1 ? `, step ${job.step} of ${job.steps}` : "";
  const words = job.doing ? job.doing[0].toUpperCase() + job.doing.slice(1) : "Working";
  return `${words}${step}${left === null ? "" : `, ${duration(left)} left`}`;
}

const ALL_MARKED = "All regions are marked, so that there is nothing for the model to find.";

const KINDS = { restore: "Restore", mask: "Where it is", sweep: "Scales" };

/** @type {Map<string, {element: HTMLLIElement, words: HTMLElement, bar: HTMLProgressElement}>} */
const lines = new Map();

function drawRunning() {
  const active = Object.values(get().jobs).filter((job) => !isOver(job)).sort((a, b) => a.created - b.created);
  const list = part("running", HTMLUListElement);
  const shown = active.filter((job) => !job.folder);
  for (const id of lines.keys()) if (!shown.some((job) => job.id === id)) lines.delete(id);
  for (const job of shown) {
    let line = lines.get(job.id);
    if (!line) {
      const words = make("span", {});
      const bar = make("progress", { max: 1, "aria-label": `Progress: ${KINDS[job.kind]}` });
      const cancel = button({ label: "Cancel", icon: "stop", press: () => void stop(job.id) });
      line = { element: make("li", {}, words, bar, cancel), words, bar };
      lines.set(job.id, line);
    }
    line.words.textContent = `${KINDS[job.kind]}${job.asked.preview ? " (preview)" : ""}: ${doing(job)}`;
    const timed = job.expected_seconds && job.seconds !== null ? Math.min(0.97, job.seconds / job.expected_seconds) : 0;
    const done = Math.max(job.steps ? job.step / job.steps : 0, timed);
    if (job.state === "running" && done > 0) line.bar.value = done;
    else line.bar.removeAttribute("value");
  }
  const elements = shown.map((job) => /** @type {{element: HTMLLIElement}} */ (lines.get(job.id)).element);
  if (elements.length !== list.children.length || elements.some((element, i) => list.children[i] !== element)) fill(list, ...elements);
}

function drawExpected() {
  const { photo, model, options } = get();
  const seconds = photo && model ? expectedSeconds(model, photo, options.settings) : null;
  const line = part("expected", HTMLElement);
  line.textContent = seconds === null ? "" : `About ${duration(seconds)} on this machine`;
}

async function listen() {
  const stream = new EventSource(at.events);
  stream.addEventListener("job", (event) => take(JSON.parse(event.data)));
  stream.addEventListener("open", () => {
    set({ connected: true });
    void catchUp();
  });
  stream.addEventListener("error", () => set({ connected: false }));
}

/** All jobs as they are now: after loading, and whenever the connection was lost. */
async function catchUp() {
  try {
    const before = get().jobs;
    const jobs = Object.fromEntries((await api.jobs()).map((job) => [job.id, job]));
    // What events have told since the question was asked may be missing in the answer.
    for (const [id, job] of Object.entries(get().jobs)) if (before[id] !== job) jobs[id] = job;
    for (const id of awaited) if (jobs[id]) take(jobs[id]);
    set({ jobs });
  } catch (error) {
    tellFault(error);
  }
}

export function startJobs() {
  part("restore", HTMLButtonElement).addEventListener("click", () => void start("restore"));
  part("preview", HTMLButtonElement).addEventListener("click", () => void start("restore", { preview: true }));
  part("find", HTMLButtonElement).addEventListener("click", () => {
    if (part("find", HTMLButtonElement).getAttribute("aria-disabled") === "true") tell(ALL_MARKED);
    else void start("mask");
  });
  watch(["jobs"], drawRunning);
  watch(["photo", "model", "options"], drawExpected);
  watch(["photo", "wish"], () => {
    const { photo, wish } = get();
    for (const id of ["restore", "preview"]) part(id, HTMLButtonElement).disabled = !photo;
    const allMarked = wish.regions.length > 0 && wish.regions.every((region) => region.mask);
    const find = part("find", HTMLButtonElement);
    find.disabled = !photo;
    // Not disabled: whoever presses it, or comes to it with the keyboard, learns why there is nothing to find.
    find.setAttribute("aria-disabled", String(Boolean(photo) && allMarked));
    find.title = allMarked ? ALL_MARKED : "Where is it? Shows what the model takes for the regions";
  });
  void listen();
}
