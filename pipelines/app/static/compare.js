/** The photo against a result: under a wipe, side by side, alternating while a key is held, as a difference. */

/** @import {Job, Look, Result} from "./types" */
import { BRIGHTER, drawDifference } from "./difference.js";
import { part, say, tellFault } from "./dom.js";
import { showResult } from "./pictures.js";
import { stage, view } from "./stage.js";
import { get, set, watch } from "./store.js";

const after = part("after", HTMLImageElement);
const difference = part("difference", HTMLCanvasElement);
const paneTwo = part("pane-two", HTMLElement);
const wipe = part("wipe", HTMLElement);
const labels = { left: part("label-left", HTMLElement), right: part("label-right", HTMLElement) };

let share = 0.5; // of the pane that shows the photo as it was
let flickering = false;
let everywhere = false; // whether the difference is shown inside the regions too

/** The job and the result that are looked at, if they are of this photo. @returns {{job: Job, result: Result} | null} */
export function shownResult() {
  const { shown, jobs, photo } = get();
  const job = shown && jobs[shown.job];
  const result = job?.results.find((one) => one.name === shown?.result);
  return job && result && job.photo === photo?.id ? { job, result } : null;
}

/** @param {Job} job @param {string} [name] of the result; by default its first picture */
export function show(job, name) {
  const result = job.results.find((one) => (name ? one.name === name : one.kind === "image"));
  if (!result) return;
  const { look } = get();
  const sheet = job.kind === "sweep" && !name;
  set({ shown: { job: job.id, result: result.name }, mode: "compare", look: sheet ? "sheet" : look === "sheet" ? "wipe" : look });
}

function draw() {
  const { mode, look } = get();
  const found = shownResult();
  const comparing = mode === "compare" && found !== null;
  const wiping = comparing && look === "wipe" && !flickering;
  const beside = comparing && look === "side";
  after.hidden = !comparing || beside || flickering || look === "sheet";
  after.style.clipPath = "";
  wipe.hidden = !wiping;
  difference.hidden = !comparing || look !== "difference" || flickering;
  if (paneTwo.hidden === beside) {
    paneTwo.hidden = !beside;
    view.resized();
  }
  const title = found?.job.asked.preview ? "Preview" : (found?.result.title ?? "");
  const right = look === "difference" ? `Difference ${everywhere ? "everywhere" : "outside the regions"}, ${BRIGHTER} times brighter` : title;
  labels.left.hidden = !comparing || look === "sheet";
  labels.right.hidden = !(wiping || beside);
  labels.left.textContent = wiping || beside || flickering ? "Before" : right;
  labels.right.textContent = right;
  if (wiping) placeWipe();
  part("stage-says", HTMLElement).classList.toggle("apart", comparing);
  for (const pressed of document.querySelectorAll("[data-look]")) {
    const button = /** @type {HTMLButtonElement} */ (pressed);
    button.setAttribute("aria-pressed", String(button.dataset.look === look));
    button.hidden = button.dataset.look === "sheet" && found?.job.kind !== "sweep";
    button.disabled = !found;
  }
  part("flicker", HTMLButtonElement).disabled = !found;
  const inside = part("difference-inside", HTMLButtonElement);
  inside.hidden = !found || look !== "difference";
  inside.setAttribute("aria-pressed", String(everywhere));
  part("no-comparison", HTMLElement).hidden = mode !== "compare" || found !== null;
}

/** Cuts the result where the line of the wipe is: the line stays in the pane while the photo moves. */
function placeWipe() {
  const { width } = view.pane();
  wipe.style.left = `${share * width}px`;
  const cut = Math.min(1, Math.max(0, view.toPhoto({ x: share * width, y: 0 }).x / view.photo.width));
  after.style.clipPath = `inset(0 0 0 ${cut * 100}%)`;
  const percent = Math.round(share * 100);
  wipe.setAttribute("aria-valuenow", String(percent));
  wipe.setAttribute("aria-valuetext", `the photo on the left ${percent} percent, the result on the right`);
}

/** @param {number} next */
function wipeTo(next) {
  share = Math.min(1, Math.max(0, next));
  placeWipe();
}

function startWipe() {
  wipe.addEventListener("pointerdown", (event) => {
    wipe.setPointerCapture(event.pointerId);
    wipe.focus({ preventScroll: true });
    event.preventDefault();
  });
  wipe.addEventListener("pointermove", (event) => {
    if (!wipe.hasPointerCapture(event.pointerId)) return;
    const box = stage.getBoundingClientRect();
    wipeTo((event.clientX - box.left) / box.width);
  });
  wipe.addEventListener("keydown", (event) => {
    const steps = /** @type {Record<string, number>} */ ({ ArrowLeft: -0.02, ArrowDown: -0.02, ArrowRight: 0.02, ArrowUp: 0.02, PageDown: -0.1, PageUp: 0.1, Home: -1, End: 1 });
    if (!(event.key in steps)) return;
    wipeTo(share + steps[event.key] * (event.shiftKey ? 5 : 1));
    event.preventDefault();
    event.stopPropagation();
  });
}

/** @param {boolean} held whether the photo is shown as it was */
export function flicker(held) {
  if (held === flickering || (held && !shownResult())) return;
  flickering = held;
  draw();
}

function startFlicker() {
  const button = part("flicker", HTMLButtonElement);
  button.addEventListener("pointerdown", (event) => {
    button.setPointerCapture(event.pointerId);
    flicker(true);
  });
  for (const end of ["pointerup", "pointercancel", "blur"]) button.addEventListener(end, () => flicker(false));
  button.addEventListener("keydown", (event) => (event.key === " " || event.key === "Enter") && flicker(true));
  button.addEventListener("keyup", () => flicker(false));
}

/** @type {string} */
let drawnDifference = "";

function load() {
  const found = shownResult();
  if (!found) return;
  after.alt = found.result.title;
  part("after-two", HTMLImageElement).alt = found.result.title;
  void showResult(found.job, found.result).catch(tellFault);
}

async function loadDifference() {
  const { mode, look, photo } = get();
  const found = shownResult();
  if (mode !== "compare" || look !== "difference" || !found || !photo) return;
  const name = `${found.job.id} ${found.result.name} ${everywhere}`;
  if (drawnDifference === name) return;
  drawnDifference = name;
  try {
    const words = await drawDifference(difference, photo, found.job, found.result, get().wish.regions, everywhere);
    if (drawnDifference !== name) return;
    part("difference-says", HTMLElement).textContent = words;
    say(words);
  } catch (error) {
    drawnDifference = "";
    tellFault(error);
  }
}

export function startCompare() {
  part("looks", HTMLElement).addEventListener("click", (event) => {
    const pressed = event.target instanceof Element ? /** @type {HTMLElement | null} */ (event.target.closest("[data-look]")) : null;
    if (pressed) set({ look: /** @type {Look} */ (pressed.dataset.look) });
  });
  part("difference-inside", HTMLButtonElement).addEventListener("click", () => {
    everywhere = !everywhere;
    draw();
    void loadDifference();
  });
  startWipe();
  startFlicker();
  view.moved.push(() => !wipe.hidden && placeWipe());
  watch(["shown", "photo"], load);
  watch(["shown", "mode", "look", "photo", "jobs"], draw);
  watch(["shown", "mode", "look", "photo"], () => {
    part("difference-says", HTMLElement).hidden = get().mode !== "compare" || get().look !== "difference" || !shownResult();
    void loadDifference();
  });
}
