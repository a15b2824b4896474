/** The results of this photo: look, keep, copy what makes them again, go back to what was asked. */

/** @import {Job} from "./types" */
import { api, at } from "./api.js";
import { shownResult, show } from "./compare.js";
import { button, fill, make, part, tell } from "./dom.js";
import { duration } from "./durations.js";
import { rememberFound, takeBack } from "./found.js";
import { follow, forget, isOver, whenDone } from "./jobs.js";
import { formatName, listed, savePictures } from "./save.js";
import { get, set, watch } from "./store.js";

const TITLES = { restore: "Restored", mask: "Where it is", sweep: "Scales" };

/** @param {string} what @param {string} text @param {string} [more] what one should know of it */
async function copy(what, text, more = "") {
  try {
    await navigator.clipboard.writeText(text);
    tell([`${what} is copied.`, more].filter(Boolean).join(" "));
  } catch {
    showText(what, text, more); // without permission for the clipboard it can be taken from here
  }
}

/** The files of the masks with which a job was asked, as its command names them. @param {Job} job @returns {string[]} */
function maskNames(job) {
  const given = job.asked.masks?.some(Boolean);
  return given ? job.results.filter((one) => one.kind === "mask").map((one) => one.name) : [];
}

/** Which files the command and the call read. @param {Job} job */
function neededBy(job) {
  const photo = get().photos.find((one) => one.id === job.photo)?.name ?? "the photo";
  const masks = maskNames(job).map((name) => `${name}.png`);
  return `It needs ${listed([photo, ...masks])} beside it${masks.length ? `; “${savesMasks(masks.length)}” gives the masks` : ""}.`;
}

const savesMasks = (/** @type {number} */ count) => (count === 1 ? "Save its mask" : "Save its masks");

/** @param {string} what @param {string} text @param {string} more */
function showText(what, text, more) {
  const dialog = make("dialog", { "aria-label": what });
  const field = make("textarea", { readonly: true, rows: 8, cols: 60, "aria-label": what });
  field.value = text;
  dialog.append(...(more ? [make("p", {}, more)] : []), field, make("div", { class: "row end" }, button({ label: "Close", press: () => dialog.close() })));
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  field.select();
}

/** @param {Job} job */
function keeping(job) {
  const result = shownResult()?.job.id === job.id ? shownResult()?.result : job.results.find((one) => one.kind === "image");
  if (!result) return [];
  const formats = get().model?.formats ?? ["png"];
  const format = make("select", { "aria-label": "Format" }, ...formats.map((one) => make("option", { value: one }, formatName(one))));
  format.value = localStorage.getItem("instructrestore format") ?? "png";
  if (format.selectedIndex < 0) format.selectedIndex = 0;
  const save = () => {
    localStorage.setItem("instructrestore format", format.value);
    void savePictures([at.download(job.id, result.name, format.value)]);
  };
  const masks = maskNames(job);
  const saveMasks = () => void savePictures(masks.map((name) => at.download(job.id, name, "png")), masks.map((name) => `${name}.png`));
  const describe = "The files that the command line and the Python call name";
  return [
    button({ label: "Save", icon: "download", kind: "accent", press: save }),
    format,
    ...(masks.length ? [button({ label: savesMasks(masks.length), icon: "download", describe, press: saveMasks })] : []),
  ];
}

/** @param {Job} job @returns {(HTMLElement | null)[]} */
function acts(job) {
  const done = job.state === "done";
  return [
    ...(done ? keeping(job) : []),
    done && job.command ? button({ label: "Command line", icon: "copy", press: () => void copy("The command line", job.command, neededBy(job)) }) : null,
    done && job.python ? button({ label: "Python", icon: "copy", press: () => void copy("The Python call", job.python, neededBy(job)) }) : null,
    done && job.record ? button({ label: "Record", icon: "copy", press: () => void copy("The record", JSON.stringify(job.record, null, 2)) }) : null,
    button({ label: "This wish again", icon: "undo", describe: "The regions and settings of this result", press: () => void takeBack(job) }),
    button({ label: done ? "Once more" : "Run again", icon: "again", press: () => void follow(() => api.again(job.id)) }),
    button({ label: "Delete this result", icon: "trash", quiet: true, press: () => void forget(job.id) }),
  ];
}

/** @param {Job} job */
function titleOf(job) {
  if (job.state === "interrupted") return "Interrupted";
  if (job.state === "cancelled") return "Cancelled";
  if (job.state === "failed") return "Failed";
  const took = job.seconds === null ? "" : `, ${duration(job.seconds)}`;
  return `${job.asked.preview ? "Preview" : TITLES[job.kind]}${took}`;
}

/** @param {Job} job */
function entry(job) {
  const first = job.results.find((one) => one.kind === "image") ?? job.results[0];
  const isShown = shownResult()?.job.id === job.id;
  const picture = first
    ? make(
        "button",
        { type: "button", class: "picture", "aria-label": `Look at: ${job.instruction}`, onclick: () => (job.kind === "mask" ? void rememberFound(job) : show(job)) },
        make("img", { src: at.result(job.id, first.name, "jpeg", 144), alt: "", loading: "lazy" }),
      )
    : null;
  const words = make("div", { class: "words" }, make("strong", {}, titleOf(job)), make("p", { title: job.instruction }, job.instruction));
  if (job.error) words.append(make("p", { class: "fault" }, job.error));
  for (const note of job.notes) words.append(make("p", { class: "faint" }, note));
  const open = isShown || job.state !== "done";
  return make(
    "li",
    { class: `result${isShown ? " shown" : ""}${picture ? "" : " bare"}`, "aria-current": isShown ? "true" : null, "data-job": job.id },
    picture,
    words,
    open ? make("div", { class: "acts" }, ...acts(job)) : null,
  );
}

let drawn = "";

function draw() {
  const { jobs, photo, shown } = get();
  const over = Object.values(jobs)
    .filter((job) => job.photo === photo?.id && isOver(job))
    .sort((a, b) => b.created - a.created);
  const now = JSON.stringify([photo?.id, shown, over.map((job) => [job.id, job.state]), get().model?.formats]);
  if (now === drawn) return; // a step of another job: the list keeps the focus
  drawn = now;
  fill(part("results", HTMLUListElement), ...over.map(entry));
  part("no-results", HTMLElement).hidden = over.length > 0;
  const looked = shown && `${shown.job} ${shown.result}`;
  if (looked !== lookedAt && get().mode === "compare") {
    part("results", HTMLUListElement).querySelector(".shown")?.scrollIntoView({ block: "nearest" });
  }
  lookedAt = looked;
}

/** @type {string | null} */
let lookedAt = null;

export function startResults() {
  whenDone((job) => {
    if (job.photo !== get().photo?.id || job.folder) return;
    if (job.kind === "mask") {
      set({ mode: "mark" });
      void rememberFound(job);
    } else {
      show(job);
    }
  });
  watch(["jobs", "photo", "shown", "model"], draw);
  watch(["jobs", "photo"], () => {
    // The latest result of a photo that was opened again waits under Compare.
    const { jobs, photo, shown } = get();
    if (shown || !photo) return;
    const latest = Object.values(jobs)
      .filter((job) => job.photo === photo.id && job.state === "done" && job.kind === "restore")
      .sort((a, b) => b.created - a.created)[0];
    const result = latest?.results.find((one) => one.kind === "image");
    if (latest && result) set({ shown: { job: latest.id, result: result.name } });
  });
}
