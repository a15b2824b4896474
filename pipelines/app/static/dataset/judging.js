/** Judging: a key, a judgement, one line in the log beside the data set; then the next region. */

/** @import {Judgement, Photo, Region} from "./types" */
import { button, fill, make, part, say, tell, tellFault } from "../dom.js";
import { api } from "./api.js";
import { isPainting, paint, result, startBrush, stop } from "./brush.js";
import { choose, current, openKey, retake } from "./photo.js";
import { counted, shown } from "./text.js";
import { change, choosing, get, watch } from "./wanted.js";

const KEPT = "instructrestore-judge";
/** @type {{key: string, number: number, region: string}[]} what was judged on this page, for undo */
const done = [];
/** @type {Region | null} */
let merging = null;
/** @type {Region | null} null: a new region */
let painting = null;
let busy = false;
/** @type {{key: string, region: string} | null} the region of the sample that is to be judged now */
let demanded = null;

export const isJudging = () => get().judge === "1" || isAuditing();
export const isAuditing = () => get().judge === "audit";
const who = () => localStorage.getItem(KEPT) ?? "";

/**
 * Asks for texts. @param {string} title @param {{label: string, value: string, most: number}[]} fields
 * @returns {Promise<string[] | null>} null: never mind
 */
function asked(title, fields) {
  const inputs = fields.map(({ value, most }) => make("input", { type: "text", value, maxlength: most, required: true, autocomplete: "off" }));
  const dialog = make("dialog", { class: "ask", "aria-label": title });
  return new Promise((resolve) => {
    const form = make("form", { method: "dialog", onsubmit: (/** @type {Event} */ event) => {
      event.preventDefault();
      end(inputs.map((input) => input.value.trim()));
    } });
    /** @param {string[] | null} answer */
    const end = (answer) => {
      dialog.close();
      dialog.remove();
      resolve(answer);
    };
    const rows = fields.map(({ label }, place) => make("label", {}, make("span", {}, label), inputs[place]));
    const choices = make("div", { class: "row end" }, button({ label: "Cancel", press: () => end(null) }), make("button", { type: "submit", class: "accent" }, "Save"));
    form.append(make("h2", {}, title), ...rows, choices);
    dialog.append(form);
    dialog.addEventListener("cancel", () => end(null));
    document.body.append(dialog);
    dialog.showModal();
    inputs[0].select();
  });
}

async function askWho() {
  const answer = await asked("Who judges?", [{ label: "Your name, as the log keeps it", value: who(), most: 64 }]);
  if (answer) localStorage.setItem(KEPT, answer[0]);
  drawBar();
  return Boolean(answer);
}

/** Asks until the answer is taken, or nobody wants it any more, so that nothing typed is lost. */
/** @param {string} title @param {{label: string, value: string, most: number}[]} fields @param {(answer: string[]) => Promise<boolean>} take */
async function askedUntil(title, fields, take) {
  for (let answer = await asked(title, fields); answer; answer = await asked(title, fields)) {
    if (await take(answer)) return true;
    fields = fields.map((field, place) => ({ ...field, value: answer?.[place] ?? "" }));
  }
  return false;
}

/** @param {{act: string, region?: string} & Record<string, unknown>} judgement its act and the act's own fields @param {string} said @returns {Promise<boolean>} whether it was taken */
async function judge(judgement, said) {
  const { photo } = current();
  if (!photo || (!who() && !(await askWho()))) return false;
  if (busy) {
    tell("One moment: the judgement before is still being written.");
    return false;
  }
  busy = true;
  try {
    const taken = await api.judge({ who: who(), key: photo.key, ...judgement });
    if (!("of" in judgement)) done.push({ key: photo.key, number: taken.number, region: judgement.region ?? "" });
    merging = null;
    fill(part("told", HTMLElement)); // whatever it said is done
    say(said);
    if (isAuditing()) await nextToAudit();
    else await goOn(taken.photo, "of" in judgement);
    return true;
  } catch (fault) {
    tellFault(fault);
    return false;
  } finally {
    busy = false;
    drawBar();
  }
}

/** The next region that nobody has judged; where there is none, the next photo. @param {Photo} photo @param {boolean} stays */
async function goOn(photo, stays) {
  retake(photo);
  const left = photo.gone ? -1 : photo.regions.findIndex((region) => !region.judged);
  if (left >= 0) choose(left, true);
  else if (!stays) await next();
}

/** Leads to the next photo that nobody has judged or is looking at. */
export async function next() {
  if (!who() && !(await askWho())) return;
  try {
    const { key } = await api.lead({ who: who(), after: current().photo?.key ?? "", ...typed() });
    if (key) openKey(key);
    else tell("Every photo that is looked for here was judged, or somebody is looking at it.");
  } catch (fault) {
    tellFault(fault);
  }
}

/** What chooses photos, as JSON has it. @returns {Record<string, unknown>} */
function typed() {
  return Object.fromEntries(Object.entries(choosing()).map(([name, value]) =>
    [name, /_(from|to)$/.test(name) ? Number(value) : name === "bokeh" ? value === "true" : value]));
}

/** @param {{drawn: number, done: number}} audit */
function sayAudited(audit) {
  part("audit-says", HTMLElement).textContent = audit.drawn
    ? `${audit.done.toLocaleString("en")} of ${audit.drawn.toLocaleString("en")} judged` : "No sample was drawn: instructrestore audit DATASET --sample 200";
}

async function nextToAudit() {
  if (!who() && !(await askWho())) return;
  try {
    const audit = await api.audit(who());
    sayAudited(audit);
    demanded = audit.key && audit.region ? { key: audit.key, region: audit.region } : null;
    if (demanded) openKey(demanded.key, demanded.region);
    else if (audit.drawn) tell("You have judged the whole sample.");
  } catch (fault) {
    tellFault(fault);
  }
}

async function undo() {
  const { photo } = current();
  const mine = photo?.judgements.filter((each) => each.who === who() && (each.act === "audit") === isAuditing()) ?? [];
  const own = mine.reduce((/** @type {Judgement | null} */ last, each) => (last && last.number > each.number ? last : each), null);
  const last = done.pop() ?? (photo && own ? { key: photo.key, number: own.number, region: own.region ?? "" } : null);
  if (!last) {
    tell("There is nothing of yours to take back on this photo.");
    return;
  }
  if (isAuditing() || last.key !== photo?.key) {
    try {
      await api.judge({ who: who(), key: last.key, act: "undo", of: last.number });
      if (isAuditing()) {
        demanded = { key: last.key, region: last.region };
        sayAudited(await api.audit(who()));
      }
      openKey(last.key, last.region);
      say("Taken back");
    } catch (fault) {
      tellFault(fault);
    }
  } else await judge({ act: "undo", of: last.number }, "Taken back");
}

/** @param {Region} region */
async function edit(region) {
  await askedUntil("Another caption", [{ label: "Caption", value: region.caption, most: 400 }],
    ([caption]) => judge({ act: "caption", region: region.id, caption }, "Caption changed"));
}

/** @param {Region} region */
async function name(region) {
  await askedUntil("Another subject", [{ label: "Subject", value: region.subject, most: 100 }],
    ([subject]) => judge({ act: "subject", region: region.id, subject }, "Subject changed"));
}

/** @param {Region} region the first, then the other one */
async function merge(region) {
  const first = merging;
  if (!first || first.id === region.id) {
    merging = first ? null : region;
    tell(merging ? `Merge ${shown(region.caption, 80)} with: choose the other region, and press M again.` : "Not merged.");
    return;
  }
  await askedUntil("One region of two", [{ label: "Caption", value: first.caption, most: 400 }, { label: "Subject", value: first.subject, most: 100 }],
    ([caption, subject]) => judge({ act: "merge", region: first.id, others: [region.id], caption, subject }, "Merged"));
  merging = null;
}

/** @param {Region | null} region null: a new one */
async function brush(region) {
  const { photo } = current();
  if (!photo || isPainting()) return;
  painting = region;
  try {
    if (await paint(photo, region)) say("Brush: paint with the pointer, hold Shift to erase, Enter saves, Escape stops");
  } catch (fault) {
    tellFault(fault);
  }
}

async function save() {
  const { size, counts, area } = result();
  if (!area) {
    tell("Nothing is painted.", "fault");
    return;
  }
  const mask = { size, counts };
  if (painting) {
    if (await judge({ act: "mask", region: painting.id, mask }, "Mask changed")) stop();
    return;
  }
  const taken = await askedUntil("A new region", [{ label: "Caption", value: "", most: 400 }, { label: "Subject", value: "", most: 100 }],
    ([caption, subject]) => judge({ act: "add", mask, caption, subject }, "Region added"));
  if (taken) stop();
}

/** @type {{key: string, label: string, what: string, press: (region: Region) => unknown}[]} */
const OF_REGION = [
  { key: "a", label: "Accept", what: "right as it is", press: (region) => judge({ act: "accept", region: region.id }, "Accepted") },
  { key: "r", label: "Reject", what: "the region is to go", press: (region) => judge({ act: "reject", region: region.id }, "Rejected") },
  { key: "e", label: "Edit caption", what: "another caption", press: edit },
  { key: "s", label: "Subject", what: "another subject", press: name },
  { key: "b", label: "Bokeh", what: "sharp before a blurred background, or not", press: (region) => judge({ act: "bokeh", region: region.id, bokeh: !region.bokeh }, region.bokeh ? "No bokeh" : "Bokeh") },
  { key: "m", label: "Merge", what: "with another region: press it on both", press: merge },
  { key: "p", label: "Split", what: "into its connected parts", press: (region) => judge({ act: "split", region: region.id, by: "connected" }, "Split") },
  { key: "d", label: "Draw", what: "the mask, with a brush", press: brush },
];
/** @type {{key: string, label: string, what: string, press: () => unknown}[]} */
const OF_PHOTO = [
  { key: "w", label: "New region", what: "drawn with a brush", press: () => brush(null) },
  { key: "x", label: "Reject photo", what: "the photo is to go", press: () => judge({ act: "reject_photo" }, "Photo rejected") },
  { key: "u", label: "Undo", what: "take your last judgement back", press: undo },
  { key: "n", label: "Next photo", what: "that nobody has judged", press: next },
];
/** @type {{key: string, label: string, what: string, press: (region: Region) => unknown}[]} */
const OF_AUDIT = [
  { key: "y", label: "Both right", what: "", press: (region) => judge(audited(region, true, true), "Both right") },
  { key: "m", label: "Mask wrong", what: "", press: (region) => judge(audited(region, false, true), "Mask wrong") },
  { key: "c", label: "Caption wrong", what: "", press: (region) => judge(audited(region, true, false), "Caption wrong") },
  { key: "x", label: "Both wrong", what: "", press: (region) => judge(audited(region, false, false), "Both wrong") },
];

/** @param {Region} region @param {boolean} mask @param {boolean} caption whether they are right */
const audited = (region, mask, caption) => ({ act: "audit", region: region.id, mask_right: mask, caption_right: caption });

/** The keys, for the page's list of them. @returns {[string, string][]} */
export const keys = () => [
  ...[...OF_REGION, ...OF_PHOTO].map(({ key, label, what }) => /** @type {[string, string]} */ ([key.toUpperCase(), `Judging: ${label.toLowerCase()}, ${what}`])),
  ...OF_AUDIT.map(({ key, label }) => /** @type {[string, string]} */ ([key.toUpperCase(), `In an audit: ${label.toLowerCase()}`])),
];

/** @param {(region: Region) => unknown} press */
function onRegion(press) {
  const { photo, chosen } = current();
  const region = photo?.regions[chosen];
  if (isAuditing() && demanded && (photo?.key !== demanded.key || region?.id !== demanded.region)) {
    if (photo?.key === demanded.key) openKey(demanded.key, demanded.region);
    tell(photo?.key === demanded.key ? "The sample asks for this region: it is chosen again." : "One moment: the next photo is coming.");
  } else if (region) press(region);
  else tell("Choose a region first: with the arrows up and down, or a click on it.");
}

export function drawBar() {
  const bar = part("judge-bar", HTMLElement);
  bar.hidden = !isJudging();
  for (const [id, mode] of /** @type {const} */ ([["judge", "1"], ["audit", "audit"]])) {
    part(id, HTMLButtonElement).setAttribute("aria-pressed", String(get().judge === mode));
  }
  if (!isJudging()) return;
  const { photo, chosen } = current();
  const region = photo?.regions[chosen];
  const acts = isAuditing() ? OF_AUDIT : OF_REGION;
  /** @param {{key: string, label: string, what: string}} act @param {() => unknown} work */
  const press = ({ key, label, what }, work) => {
    const made = button({ label, kind: "act", describe: what ? `${label}: ${what} (${key.toUpperCase()})` : `${label} (${key.toUpperCase()})`, press: () => (isPainting() ? tell("Save the mask or stop the brush first.") : void work()) });
    made.append(make("kbd", { "aria-hidden": "true" }, key.toUpperCase()));
    return made;
  };
  const left = photo?.regions.filter((region) => !region.judged).length ?? 0;
  fill(part("judge-acts", HTMLElement), ...acts.map((act) => press(act, () => onRegion(act.press))),
    ...(isAuditing() ? [press({ key: "u", label: "Undo", what: "take your last judgement back" }, undo)] : OF_PHOTO.map((act) => press(act, act.press))));
  const about = region ? `“${shown(region.caption, 200)}” · ` : "";
  const rest = isAuditing() || !photo ? "" : photo.gone ? "This photo is to go." : `${counted(left, "region")} to judge`;
  part("judge-says", HTMLElement).textContent = about + rest;
  const change = button({ label: who() ? shown(who(), 64) : "Who?", kind: "plain small", describe: "Who judges", press: () => void askWho() });
  fill(part("judge-who", HTMLElement), change);
}

/** @param {KeyboardEvent} event */
function press(event) {
  if (!isJudging() || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]") || part("photo", HTMLElement).hidden) return;
  if ((event.target instanceof HTMLInputElement && event.target.type === "text") || event.target instanceof HTMLSelectElement) return;
  const key = event.key.toLowerCase();
  if (isPainting()) {
    if (key === "enter") void save();
    else if (key === "escape") stop();
    else return;
    event.preventDefault();
    event.stopImmediatePropagation();
    return;
  }
  if (event.repeat) return; // a key that is held down judges once
  const act = (isAuditing() ? OF_AUDIT : OF_REGION).find((each) => each.key === key);
  const ofPhoto = isAuditing() && key !== "u" ? undefined : OF_PHOTO.find((each) => each.key === key);
  if (act) onRegion(act.press);
  else if (ofPhoto) void ofPhoto.press();
  else return;
  event.preventDefault();
}

/** @param {"1" | "audit"} mode */
async function begin(mode) {
  if (get().judge === mode) {
    change({ judge: "" });
    return;
  }
  if (!who() && !(await askWho())) return;
  done.length = 0; // undo is of what was judged in this mode
  demanded = null;
  change({ judge: mode });
  if (mode === "audit") await nextToAudit();
  else if (!current().photo) await next();
}

export function startJudging() {
  startBrush();
  part("judge", HTMLButtonElement).addEventListener("click", () => void begin("1"));
  part("audit", HTMLButtonElement).addEventListener("click", () => void begin("audit"));
  part("brush-save", HTMLButtonElement).addEventListener("click", () => void save());
  part("brush-stop", HTMLButtonElement).addEventListener("click", stop);
  window.addEventListener("keydown", press, { capture: true });
  watch((changed) => {
    if (changed.has("photo") && isPainting()) stop();
    drawBar();
  });
}
