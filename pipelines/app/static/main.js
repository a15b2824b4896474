/** Starts the parts of the page, each with what it draws. */

/** @import {Mode} from "./types" */
import { startCompare } from "./compare.js";
import { startDrafts } from "./drafts.js";
import { part, settle } from "./dom.js";
import { startFolder } from "./folder.js";
import { placeIcons } from "./icons.js";
import { startInstruction } from "./instruction.js";
import { startJobs } from "./jobs.js";
import { startKeys } from "./keys.js";
import { startMaskTools } from "./mask-tools.js";
import { startOverlay } from "./overlay.js";
import { startPartList } from "./part-list.js";
import { KEPT_MODE, startPhotos } from "./photos.js";
import { startPictures } from "./pictures.js";
import { startRegionList } from "./region-list.js";
import { startResults } from "./results.js";
import { hintAtScroll } from "./scroll-hint.js";
import { startSheet } from "./sheet.js";
import { startGrip } from "./sheet-grip.js";
import { startStage } from "./stage.js";
import { startStatus } from "./status.js";
import { get, redo, set, undo, undoable, watch } from "./store.js";
import { startUnderstanding } from "./understanding.js";
import { startWishFields } from "./wish-fields.js";

function startTop() {
  for (const element of document.querySelectorAll("#modes button")) {
    const button = /** @type {HTMLButtonElement} */ (element);
    button.addEventListener("click", () => set({ mode: /** @type {Mode} */ (button.dataset.mode) }));
    watch(["mode"], () => button.setAttribute("aria-pressed", String(get().mode === button.dataset.mode)));
  }
  watch(["mode"], () => (document.body.dataset.mode = get().mode));
  watch(["mode", "photo"], () => get().photo && sessionStorage.setItem(KEPT_MODE, get().mode));
  const back = part("undo", HTMLButtonElement);
  const forth = part("redo", HTMLButtonElement);
  back.addEventListener("click", undo);
  forth.addEventListener("click", redo);
  watch(["wish"], () => {
    const can = undoable();
    back.disabled = !can.undo;
    forth.disabled = !can.redo;
  });
  document.addEventListener("input", settle);
  const menu = part("menu", HTMLDetailsElement);
  document.addEventListener("click", (event) => {
    const inside = event.target instanceof Element && event.target.closest("#menu > summary");
    if (!inside) menu.open = false;
  });
  menu.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    menu.open = false;
    menu.querySelector("summary")?.focus();
  });
}

placeIcons();
startTop();
startStage();
startOverlay();
startMaskTools();
startInstruction();
startUnderstanding();
startRegionList();
startPartList();
startWishFields();
startPictures();
startCompare();
startResults();
startSheet();
startFolder();
startDrafts();
startKeys();
startGrip();
hintAtScroll(part("tools", HTMLElement));
startStatus();
startJobs();
void startPhotos();
