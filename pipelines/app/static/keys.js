/** Keys that work wherever no text is being written. */

/** @import {Tool} from "./types" */
import { flicker } from "./compare.js";
import { button, make } from "./dom.js";
import { newRegion } from "./region-list.js";
import { zoomBy } from "./stage.js";
import { get, redo, set, undo } from "./store.js";

/** @type {Record<string, Tool>} */
const TOOLS = { p: "point", b: "brush", e: "erase", r: "box", h: "hand" };
/** @type {Record<string, string>} */
const ZOOMS = { "0": "fit", "1": "1", "4": "4", "+": "in", "=": "in", "-": "out" };
const SHOWN = [
  ["P B E R H", "Point, brush, erase, box, move"],
  ["[ ]", "Smaller or larger brush; Alt while brushing erases"],
  ["N", "New region"],
  ["M C", "Mark or compare"],
  ["F", "Hold: the photo as it was"],
  ["0 1 4 + −", "Fit, 100%, 400%, larger, smaller"],
  ["Space", "Hold: move the photo"],
  ["Arrows, Enter", "On the photo: a cross hair, and the tool there"],
  ["Ctrl Z, Ctrl Shift Z", "Undo, redo"],
  ["Ctrl Enter", "Restore"],
  ["?", "These keys"],
];

/** @param {EventTarget | null} target */
function writes(target) {
  if (target instanceof HTMLInputElement) return !["range", "checkbox", "button", "file"].includes(target.type);
  return target instanceof HTMLTextAreaElement || target instanceof HTMLSelectElement;
}

/** @param {KeyboardEvent} event */
function press(event) {
  if (document.querySelector("dialog[open]")) return;
  const command = event.ctrlKey || event.metaKey;
  const key = event.key.toLowerCase();
  if (command && key === "enter") {
    document.getElementById("restore")?.click();
    event.preventDefault();
    return;
  }
  if (writes(event.target)) return;
  if (command) {
    if (key === "z" || key === "y") {
      if (key === "y" || event.shiftKey) redo();
      else undo();
      event.preventDefault();
    }
    return;
  }
  if (key === "?") {
    event.preventDefault();
    showKeys();
    return;
  }
  if (event.altKey || !get().photo) return;
  if (key in TOOLS) set({ tool: TOOLS[key], mode: "mark" });
  else if (key in ZOOMS) zoomBy(ZOOMS[key]);
  else if (key === "f") flicker(true);
  else if (key === "m") set({ mode: "mark" });
  else if (key === "c") set({ mode: "compare" });
  else if (key === "n") newRegion();
  else if (key === "[" || key === "]") {
    const { brush } = get();
    set({ brush: { ...brush, size: Math.max(2, Math.round(brush.size * (key === "[" ? 0.8 : 1.25))) } });
  } else return;
  event.preventDefault();
}

function showKeys() {
  const list = make("dl", {}, ...SHOWN.flatMap(([keys, what]) => [
    make("dt", {}, ...keys.split(/(?<!Ctrl|Shift) |(?<=,) /).map((one) => make("kbd", {}, one.replace(",", "")))),
    make("dd", {}, what),
  ]));
  const dialog = make("dialog", { "aria-label": "Keys" });
  dialog.append(make("h2", {}, "Keys"), list, make("div", { class: "row end" }, button({ label: "Close", press: () => dialog.close() })));
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

export function startKeys() {
  window.addEventListener("keydown", press);
  window.addEventListener("keyup", (event) => event.key.toLowerCase() === "f" && flicker(false));
  window.addEventListener("blur", () => flicker(false));
  document.getElementById("show-keys")?.addEventListener("click", showKeys);
}
