/** A folder: one wish, or one mask, for many photos; a table of how far each is; all of it as a zip. */

/** @import {Folder, Job, Photo} from "./types" */
import { api, at } from "./api.js";
import { button, fill, make, part, say, settle, tellFault } from "./dom.js";
import { duration, expectedSeconds } from "./durations.js";
import { asked, doing, follow, isOver, stopsSoon, take } from "./jobs.js";
import { choose } from "./photos.js";
import { formatName, saveStream } from "./save.js";
import { get, watch } from "./store.js";
import { show } from "./compare.js";

const place = part("folder", HTMLElement);
/** @type {Set<string>} ids of the photos that are not taken */
const left = new Set();
/** @type {Set<string>} ids of the photos that the server is being asked for */
let asking = new Set();
let former = ""; // the folder that there was before

/** The folder that was asked for last: the jobs say so, also to a page that was loaded while they were being asked for. */
function latestFolder() {
  /** @type {Map<string, number>} */
  const begun = new Map();
  for (const { folder, created } of Object.values(get().jobs)) {
    if (folder) begun.set(folder, Math.min(created, begun.get(folder) ?? Infinity));
  }
  return [...begun].sort(([, a], [, b]) => b - a)[0]?.[0] ?? "";
}

/** The folder's jobs as the page knows them, by their photos. @returns {Map<string, Job>} */
function jobsOfFolder() {
  const folder = latestFolder();
  const jobs = Object.values(get().jobs).filter((job) => job.folder && job.folder === folder);
  return new Map(jobs.sort((a, b) => a.created - b.created).map((job) => [job.photo, job]));
}

async function start() {
  if (asking.size) return;
  former = latestFolder();
  asking = new Set(get().photos.filter((one) => !left.has(one.id)).map((one) => one.id));
  draw();
  try {
    const wanted = await asked();
    if (!wanted) return;
    const { photo: _, masks, ...rest } = wanted;
    // With one region its mask is that of all photos, scaled to each; otherwise the model finds each region anew.
    const same = sameMask.checked && masks?.length === 1 && masks[0] ? [masks[0]] : [];
    taken(await api.addFolder({ ...rest, photos: [...asking], masks: same }));
  } catch (error) {
    tellFault(error);
  } finally {
    asking = new Set();
    draw();
  }
}

/** @param {Folder} made */
function taken(made) {
  settle();
  for (const job of made.jobs) take(job);
  say(`${made.jobs.length} photos are waiting`);
}

async function cancel() {
  try {
    for (const job of jobsOfFolder().values()) if (!isOver(job)) stopsSoon(job.id);
    draw();
    await api.cancelFolder(latestFolder());
  } catch (error) {
    tellFault(error);
  }
}

/** @param {Job | undefined} job @param {boolean} asks */
function stateOf(job, asks) {
  if (!job) return asks ? "Asking" : "";
  if (job.state === "failed") return job.error || "Failed";
  if (!isOver(job)) return doing(job);
  return job.state[0].toUpperCase() + job.state.slice(1);
}

/** @typedef {{row: HTMLTableRowElement, show: (job: Job | undefined) => void}} Row */
/** @type {Map<string, Row>} */
const rows = new Map();

/** @param {Photo} photo @returns {Row} */
function rowOf(photo) {
  const check = make("input", { type: "checkbox", checked: !left.has(photo.id), "aria-label": `Take ${photo.name}` });
  check.addEventListener("change", () => {
    if (check.checked) left.delete(photo.id);
    else left.add(photo.id);
    draw();
  });
  const words = make("span", {});
  const bar = make("progress", { max: 1, value: 0, "aria-label": `Progress of ${photo.name}` });
  const time = make("td", { class: "number" });
  const acts = make("td", {});
  const open = button({ label: photo.name, kind: "plain", press: () => void choose(photo) });
  const row = make("tr", {},
    make("td", {}, check), make("td", {}, make("img", { src: at.thumbnail(photo.id), alt: "", loading: "lazy" })),
    make("th", { scope: "row" }, open), make("td", {}, words, bar), time, acts);
  let shown = "";
  return {
    row,
    show(job) {
      const asks = asking.has(photo.id);
      words.textContent = stateOf(job, asks);
      words.className = job?.state === "failed" ? "fault" : "";
      bar.hidden = job ? isOver(job) : !asks;
      if (job?.state === "running" && job.step) bar.value = job.step / Math.max(1, job.steps);
      else if (job?.state === "running" || (asks && !job)) bar.removeAttribute("value");
      else bar.value = 0;
      const seconds = job?.state === "done" ? job.seconds : (job?.expected_seconds ?? null);
      time.textContent = seconds === null ? "" : `${job?.state === "done" ? "" : "about "}${duration(seconds)}`;
      const now = job ? `${job.id} ${job.state}` : "";
      if (now === shown) return;
      shown = now;
      fill(acts, ...(job?.state === "done" ? [button({ label: "Compare", press: () => void choose(photo).then(() => show(job)) })] : []),
        ...(job && isOver(job) && job.state !== "done" ? [button({ label: "Run again", press: () => void follow(() => api.again(job.id)) })] : []));
    },
  };
}

const title = make("h2", {});
const sums = make("p", { class: "faint", role: "status" });
const go = button({ label: "Restore all", kind: "accent", press: () => void start() });
const stop = button({ label: "Cancel", icon: "stop", press: () => void cancel() });
const format = make("select", { "aria-label": "Format of the zip" });
const zip = button({ label: "All as a zip", icon: "download", press: () => void saveStream(at.zip(latestFolder(), format.value)) });
const sameMask = make("input", { type: "checkbox", id: "same-mask" });
const maskChoice = make("label", { for: "same-mask" }, sameMask, "The region's mask for all of them");
const body = make("tbody", {});
const table = make("table", {},
  make("caption", {}, "All are restored with the wish and the settings beside them."),
  make("thead", {}, make("tr", {}, ...["Take", "", "Photo", "State", "Time", ""].map((name) => (name ? make("th", { scope: "col" }, name) : make("td", {}))))),
  body);

/** How long the photos take together, where that is known. @param {Photo[]} photos */
function expectation(photos) {
  const { model, options } = get();
  const each = photos.map((photo) => (model ? expectedSeconds(model, photo, options.settings) : null));
  const known = each.every((seconds) => seconds !== null) && each.length > 0;
  return known ? `About ${duration(each.reduce((sum, seconds) => sum + (seconds ?? 0), 0))} in all on this machine` : "";
}

function draw() {
  const { mode, photos, wish, model } = get();
  place.hidden = mode !== "folder";
  if (place.hidden) return;
  const jobs = jobsOfFolder();
  for (const [id, { row }] of rows) {
    if (photos.some((photo) => photo.id === id)) continue;
    row.remove();
    rows.delete(id);
  }
  photos.forEach((photo, at) => {
    const row = rows.get(photo.id) ?? rowOf(photo);
    rows.set(photo.id, row);
    if (body.children[at] !== row.row) body.insertBefore(row.row, body.children[at] ?? null);
    const job = jobs.get(photo.id);
    row.show(job && asking.has(photo.id) && job.folder === former ? undefined : job);
  });
  const wanted = photos.filter((photo) => !left.has(photo.id)).length;
  title.textContent = `${photos.length} ${photos.length === 1 ? "photo" : "photos"}`;
  go.querySelector("span")?.replaceChildren(wanted === photos.length ? "Restore all" : `Restore ${wanted}`);
  go.disabled = wanted === 0 || asking.size > 0;
  maskChoice.hidden = wish.regions.length !== 1 || !wish.regions[0].mask;
  const all = [...jobs.values()];
  const count = (/** @type {(job: Job) => boolean} */ is) => all.filter(is).length;
  const open = all.filter((job) => !isOver(job));
  const seconds = open.reduce((sum, job) => sum + Math.max(0, (job.expected_seconds ?? 0) - (job.seconds ?? 0)), 0);
  const failed = all.filter((job) => job.state === "failed").map((job) => photos.find((photo) => photo.id === job.photo)?.name ?? "a photo");
  sums.textContent = asking.size
    ? `Asking for ${asking.size} ${asking.size === 1 ? "photo" : "photos"}…`
    : all.length
    ? [`${count((job) => job.state === "done")} done`, failed.length ? `${failed.length} failed (${failed.join(", ")})` : "",
       open.length ? `${open.length} left${seconds ? `, about ${duration(seconds)}` : ""}` : ""].filter(Boolean).join(", ")
    : expectation(photos.filter((photo) => !left.has(photo.id)));
  stop.hidden = open.length === 0 || asking.size > 0;
  zip.hidden = format.hidden = count((job) => job.state === "done") === 0;
  const formats = (model?.formats ?? []).filter((name) => name !== "tiff"); // of folders 8 bits a channel are kept
  if (format.children.length !== formats.length) {
    fill(format, ...formats.map((name) => make("option", { value: name }, formatName(name))));
  }
}

export function startFolder() {
  const add = button({ label: "Add photos", icon: "add", press: () => part("files", HTMLInputElement).click() });
  place.append(make("div", { class: "head" }, title, add, maskChoice, go, stop, format, zip), sums, make("div", {}, table));
  watch(["mode", "photos", "jobs", "wish", "model", "options"], draw);
}
