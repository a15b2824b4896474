/** One photo, large: its regions, what was said of them, and by whom. */

/** @import {Dropped, Photo, Piece, Region} from "./types" */
import { button, fill, make, part, say, tellFault } from "../dom.js";
import { api, at } from "./api.js";
import { activate, activeIndex } from "./grid.js";
import { item, placeOf, total } from "./pages.js";
import { forget, hide, light, regionAt, show, showPiece } from "./regions-picture.js";
import { counted, percent, shown } from "./text.js";
import { change, get } from "./wanted.js";

/** @type {Photo | null} */
let photo = null;
/** @type {() => void} is called when another photo is shown, or the same one changed */
let drawn = () => {};
let chosen = -1;
/** @type {Set<number>} */
let hidden = new Set();
let wantedKey = "";
let wantedRegion = ""; // its id
let wantedJudge = "";
let awaited = -1; // the place of a photo that is to be opened and has not come yet

const view = () => part("photo", HTMLElement);

/** Shows the photo at a place of the list, once it has come. @param {number} index */
export function openAt(index) {
  const known = item(index);
  awaited = known ? -1 : index;
  if (!known) return;
  activate(index);
  wantedRegion = "";
  if ("key" in known) change({ photo: known.key }, { step: !isOpen() });
  else showDropped(known);
}

/** What is shown now; chosen: the place of the region that stands out, or -1. */
export const current = () => ({ photo, chosen });

/** @param {string} key @param {string} [region] the id of the region that stands out */
export function openKey(key, region = "") {
  wantedRegion = region;
  if (key === get().photo) {
    wantedKey = "";
    void follow();
  } else change({ photo: key }, { step: !isOpen() });
}

/** The same photo after a judgement. @param {Photo} found */
export function retake(found) {
  if (found.key === photo?.key) showPhoto(found);
}

/** Photos have come. */
export function arrived() {
  if (awaited >= 0) openAt(awaited);
}

const isOpen = () => !view().hidden;

/** What the address says. */
export async function follow() {
  const key = get().photo ?? "";
  if (key === wantedKey && (get().judge ?? "") === wantedJudge) return;
  wantedKey = key;
  wantedJudge = get().judge ?? "";
  if (!key) {
    shut();
    return;
  }
  try {
    const found = await (get().judge === "1" ? api.judged(key) : api.photo(key));
    if (wantedKey !== key) return;
    const place = placeOf(key);
    if (place >= 0) activate(place);
    showPhoto(found);
    const first = found.regions.findIndex((region) => (wantedRegion ? region.id === wantedRegion : !region.judged));
    if (get().judge && first >= 0) choose(first, true);
  } catch (fault) {
    tellFault(fault);
    change({ photo: "" });
  }
}

function reveal() {
  const first = !isOpen();
  view().hidden = false;
  part("grid", HTMLElement).inert = true;
  const where = total() ? `${(activeIndex() + 1).toLocaleString("en")} of ${total().toLocaleString("en")}` : "";
  part("photo-place", HTMLElement).textContent = where;
  if (first) part("photo-stage", HTMLElement).focus();
}

function shut() {
  if (!isOpen()) return;
  view().hidden = true;
  photo = null;
  forget();
  part("grid", HTMLElement).inert = false;
  part("grid", HTMLElement).focus({ preventScroll: true });
}

export function close() {
  if (get().photo) change({ photo: "" });
  else shut();
}

/** @param {number} by */
function step(by) {
  const index = activeIndex() + by;
  if (index >= 0 && index < total()) openAt(index);
}

/** @param {Photo} found */
function showPhoto(found) {
  photo = found;
  chosen = -1;
  hidden = new Set();
  part("photo-canvas", HTMLElement).hidden = false;
  part("dropped-picture", HTMLElement).hidden = true;
  const quality = found.quality === null ? "not scored" : `${found.quality.toFixed(1)} (${found.quality_metric || "unnamed"})`;
  fill(part("photo-facts", HTMLElement),
    ...facts([
      ["Name", found.name], ["Key", found.key], ["Size", `${found.width} × ${found.height}, ${found.format}`],
      ["Quality", quality], ["Source", found.source || "not stated"], ["Licence", found.licence || "not stated"],
      ["From", found.url],
    ]));
  part("photo-title", HTMLElement).textContent = shown(found.name, 120);
  fill(part("region-list", HTMLElement), ...found.regions.map(card));
  part("region-count", HTMLElement).textContent = counted(found.regions.length, "region");
  void show(found);
  drawn();
  reveal();
  say(`${shown(found.name, 120)}, ${counted(found.regions.length, "region")}`);
}

/** @param {[string, string][]} lines @returns {Node[]} */
function facts(lines) {
  return lines.filter(([, value]) => value).flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, shown(value, 600))]);
}

/** @param {Region} region @param {number} number */
function card(region, number) {
  const dot = make("span", { class: "dot", "aria-hidden": "true" });
  dot.style.background = region.colour;
  const seen = make("input", { type: "checkbox", checked: true, "aria-label": `Show region ${number + 1}` });
  seen.addEventListener("change", () => {
    if (seen.checked) hidden.delete(number);
    else hidden.add(number);
    hide(hidden);
  });
  const subject = button({
    label: shown(region.subject, 80), kind: "chip", describe: "The photos with this subject",
    press: () => change({ ...blank(), subject: region.subject, photo: "" }, { step: true }),
  });
  const notes = [
    percent(region.area), region.bokeh ? "bokeh" : "",
    region.agreement ? `agreement ${region.agreement.score.toFixed(1)}` : "",
    region.judged ? "judged" : "", ...region.corrections.map((each) => `${each.act} by ${shown(each.who, 64)}`),
  ].filter(Boolean).join(" · ");
  const pieces = make("details", { class: "pieces" },
    make("summary", {}, `${counted(region.pieces.length, "piece")}, and who said what`),
    ...region.pieces.map((piece, place) => pieceOf(piece, number, place)),
    region.agreement ? make("p", { class: "faint" }, `Agreement by ${shown(region.agreement.model, 300)}`) : null);
  const made = make("li", { class: region.judged ? "region judged" : "region", id: `region-${number}` },
    make("div", { class: "row" }, seen, dot,
      button({ label: shown(region.caption, 400), kind: "caption", press: () => choose(number) })),
    make("div", { class: "row wrap between" }, subject, make("span", { class: "faint" }, notes)), pieces);
  made.addEventListener("pointerenter", () => light(number));
  made.addEventListener("pointerleave", () => light(chosen));
  return made;
}

/** All that chooses photos, as "". */
const blank = () => Object.fromEntries(Object.keys(get()).filter((name) => name !== "regions" && name !== "order").map((name) => [name, ""]));

/** @param {Piece} piece @param {number} region @param {number} number */
function pieceOf(piece, region, number) {
  const rows = piece.answers.map((answer) => make("tr", {},
    make("td", {}, String(answer.round)),
    make("td", {}, shown(answer.revision ? `${answer.model} ${answer.revision}` : answer.model, 200)),
    make("td", {}, shown(answer.noun_phrase || "—", 300), answer.subject ? make("span", { class: "faint" }, ` (${shown(answer.subject, 100)})`) : null),
    make("td", { class: answer.faults ? "fault" : "good" }, shown(answer.faults || "taken", 200))));
  const table = make("table", {}, make("caption", { class: "unseen" }, "Noun phrases, round by round"),
    make("thead", {}, make("tr", {}, ...["Round", "Who", "Noun phrase (subject)", "Outcome"].map((name) => make("th", { scope: "col" }, name)))),
    make("tbody", {}, ...rows));
  const made = make("section", { class: "piece", "aria-label": `Piece ${number + 1}` },
    make("p", {}, make("span", { class: "faint" }, `Piece ${number + 1}, ${percent(piece.area)}, mask by `), shown(piece.segmenter, 300)),
    piece.describer ? make("p", {}, make("span", { class: "faint" }, `${shown(piece.describer, 300)}: `), shown(piece.description)) : null,
    rows.length ? make("div", { class: "wide" }, table) : null,
    // The numbers of pieces are the data set's own, not those of what was judged.
    get().judge === "1" ? null : button({ label: "Show this piece alone", kind: "plain small", press: () => void showPiece(region, number) }));
  return made;
}

/** @param {number} number of the region that stands out; -1: none @param {boolean} [stays] where it stands out already */
export function choose(number, stays = false) {
  chosen = number === chosen && !stays ? -1 : number;
  for (const [place, element] of [...part("region-list", HTMLElement).children].entries()) {
    element.classList.toggle("active", place === chosen);
    element.querySelector(".caption")?.setAttribute("aria-pressed", String(place === chosen));
  }
  if (chosen >= 0) document.getElementById(`region-${chosen}`)?.scrollIntoView({ block: "nearest" });
  light(chosen);
  drawn();
}

/** @param {Dropped} line */
function showDropped(line) {
  photo = null;
  forget();
  part("photo-title", HTMLElement).textContent = shown(line.name, 120);
  part("photo-canvas", HTMLElement).hidden = true;
  const picture = part("dropped-picture", HTMLImageElement);
  picture.hidden = false;
  picture.src = at.dropped(line.number);
  fill(part("photo-facts", HTMLElement), ...facts([
    [line.kind === "failed" ? "Failed in" : "Left out by", line.stage], ["Reason", line.reason], ["Detail", line.detail], ["Address", line.uri],
  ]));
  fill(part("region-list", HTMLElement));
  part("region-count", HTMLElement).textContent = "";
  reveal();
  say(`${shown(line.name, 120)}, left out by ${line.stage}: ${shown(line.reason, 200)}`);
}

/** @param {KeyboardEvent} event */
function press(event) {
  if (!isOpen() || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  const typed = event.target instanceof HTMLInputElement && event.target.type !== "checkbox";
  if (typed || event.target instanceof HTMLSelectElement || event.target instanceof HTMLTextAreaElement) return;
  if (event.key === "Escape") close();
  else if (event.key === "ArrowRight") step(1);
  else if (event.key === "ArrowLeft") step(-1);
  else if (photo && (event.key === "ArrowDown" || event.key === "ArrowUp")) {
    const count = photo.regions.length;
    if (count) {
      const by = event.key === "ArrowDown" ? 1 : -1;
      choose(chosen < 0 ? (by > 0 ? 0 : count - 1) : (chosen + by + count) % count);
    }
  } else return;
  event.preventDefault();
}

/** @param {() => void} draw is called when another photo is shown, or the same one changed */
export function startPhoto(draw) {
  drawn = draw;
  part("photo-close", HTMLButtonElement).addEventListener("click", close);
  part("photo-before", HTMLButtonElement).addEventListener("click", () => step(-1));
  part("photo-after", HTMLButtonElement).addEventListener("click", () => step(1));
  const stage = part("photo-canvas", HTMLElement);
  stage.addEventListener("pointermove", (event) => {
    const found = regionAt(event.clientX, event.clientY);
    light(found >= 0 ? found : chosen);
  });
  stage.addEventListener("pointerleave", () => light(chosen));
  stage.addEventListener("click", (event) => {
    const found = regionAt(event.clientX, event.clientY);
    if (found >= 0 && found !== chosen) choose(found);
  });
  window.addEventListener("keydown", press);
}
