/** The data set's page: what is looked for, the photos, one of them. */

import { make, button, fill, part, say, settle, tellFault } from "../dom.js";
import { placeIcons } from "../icons.js";
import { api } from "./api.js";
import { drawChoices, drawFilters, drawSubjects, startFilters } from "./filters.js";
import { draw, redraw, reset, startGrid } from "./grid.js";
import { begin, startPages, total } from "./pages.js";
import { drawBar, keys, startJudging } from "./judging.js";
import { arrived, follow, openAt, startPhoto } from "./photo.js";
import { counted, shown } from "./text.js";
import { change, chooses, get, leftOut, startWanted, watch } from "./wanted.js";

const ASK_AGAIN = 1000; // milliseconds, while the index or the records are being read
const KEYS = [
  ["Arrows, Page Up, Page Down, Home, End", "On the photos: go from one to the next"],
  ["Enter", "Open the photo"],
  ["Left, Right", "In a photo: the one before, the next"],
  ["Up, Down", "In a photo: its regions"],
  ["Escape", "Back to the photos"],
  ["/", "Search in captions"],
  ["?", "These keys"],
];

/** @param {unknown} [fault] */
function came(fault) {
  if (fault) tellFault(fault);
  else settle();
  const said = leftOut() ? `${counted(total(), "photo")} left out` : counted(total(), "photo");
  const line = part("found", HTMLElement);
  if (line.textContent !== said) {
    line.textContent = said;
    say(said);
  }
  part("nothing", HTMLElement).hidden = total() > 0 || Boolean(fault);
  draw();
  arrived();
}

/** @param {Set<string>} changed */
async function looked(changed) {
  drawFilters();
  part("show-regions", HTMLButtonElement).setAttribute("aria-pressed", String(get().regions === "1"));
  if (changed.has("regions")) redraw();
  if (chooses(changed)) {
    await begin();
    reset();
  }
  await follow();
}

/** Asks what the data set is, until all of it was read. @param {boolean} first */
async function card(first) {
  let found;
  try {
    found = await api.card();
  } catch (fault) {
    tellFault(fault);
    if (first) part("about", HTMLElement).textContent = "No data set is open here.";
    return;
  }
  document.title = `${shown(found.name, 80)} · InstructRestore`;
  part("dataset-name", HTMLElement).textContent = shown(found.name, 80);
  const read = (found.records ?? 0).toLocaleString("en");
  const records = found.records === null || found.state !== "ready" ? "" : ` Records read: ${read}.`;
  const states = { "being read": `The index is being read, once: ${read} of ${counted(found.photos, "photo")}…`, ready: `${counted(found.photos, "photo")}, ${counted(found.regions, "region")}.`, failed: "" };
  part("about", HTMLElement).textContent = `${states[found.state]}${records} ${shown(found.error, 400)}`.trim();
  if (found.state === "ready" && !ready) {
    ready = true;
    drawChoices(found);
    void drawSubjects();
    await looked(new Set(["key"]));
  } else if (found.state === "ready" && found.records === null) {
    drawChoices(found);
  }
  if (found.state === "being read" || (found.state === "ready" && found.records !== null && !found.error)) setTimeout(card, ASK_AGAIN, false);
}
let ready = false;

function showKeys() {
  const list = make("dl", {}, ...[...KEYS, ...keys()].flatMap(([keys, what]) => [
    make("dt", {}, ...keys.split(", ").map((one) => make("kbd", {}, one))), make("dd", {}, what),
  ]));
  const dialog = make("dialog", { "aria-label": "Keys" });
  fill(dialog, make("h2", { tabindex: -1, autofocus: true }, "Keys"), list, make("div", { class: "row end" }, button({ label: "Close", press: () => dialog.close() })));
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

/** @param {KeyboardEvent} event */
function press(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  if (event.target instanceof HTMLInputElement || event.target instanceof HTMLSelectElement) return;
  if (event.key === "/") {
    part("filters-part", HTMLDetailsElement).open = true;
    part("caption", HTMLInputElement).focus();
  } else if (event.key === "?") showKeys();
  else return;
  event.preventDefault();
}

placeIcons();
startFilters();
startPages(came);
startGrid(openAt);
startPhoto(drawBar);
startJudging();
const side = part("filters-part", HTMLDetailsElement);
side.open = !matchMedia("(max-width: 52rem)").matches;
part("show-regions", HTMLButtonElement).addEventListener("click", () => change({ regions: get().regions === "1" ? "" : "1" }));
part("show-keys", HTMLButtonElement).addEventListener("click", showKeys);
window.addEventListener("keydown", press);
watch((changed) => void (ready && looked(changed)));
startWanted();
void card(true);
