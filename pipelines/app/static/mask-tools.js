/** The tools of marking: which is in hand, the brush, what is done to a region's mask, and masks from files. */

/** @import {Tool} from "./types" */
import { api, at } from "./api.js";
import { part, say, tellFault } from "./dom.js";
import { rememberMask } from "./jobs.js";
import { emptyMask, feathered, grown, inverted, isEmpty, loaded, maskOf, noteOn, overlaySize } from "./masks.js";
import { addRegion, changeMask, changeRegion } from "./regions.js";
import { activeRegion, get, set, watch } from "./store.js";

/** Pixels of the photo as pixels of a mask. @param {number} pixels */
function inMask(pixels) {
  const { photo } = get();
  return photo ? (pixels * overlaySize(photo).width) / photo.width : pixels;
}

/** @param {File} file */
async function load(file) {
  const { photo } = get();
  if (!photo) return;
  try {
    const saved = await api.addMask(photo.id, file, file.name);
    const size = overlaySize(photo);
    const mask = maskOf(await loaded(at.mask(saved.id, Math.max(size.width, size.height))), size);
    rememberMask(mask, saved.id);
    noteOn(mask, saved.notes);
    const active = activeRegion();
    if (active) changeRegion(active.id, { mask });
    else addRegion({ mask });
    say([`${file.name} is the region's mask`, ...saved.notes].join(". "));
  } catch (error) {
    tellFault(error);
  }
}

function startOperations() {
  const amount = part("mask-amount", HTMLInputElement);
  const pixels = () => Math.max(1, inMask(Number(amount.value) || 1));
  const press = (/** @type {string} */ id, /** @type {() => void} */ act) =>
    part(id, HTMLButtonElement).addEventListener("click", act);
  press("mask-feather", () => changeMask((mask) => feathered(mask, pixels())));
  press("mask-grow", () => changeMask((mask) => grown(mask, pixels())));
  press("mask-shrink", () =>
    changeMask((mask) => {
      const shrunk = grown(mask, -pixels());
      return isEmpty(shrunk) ? null : shrunk;
    }),
  );
  press("mask-invert", invert);
  press("mask-clear", () => changeMask(() => null));
  const file = part("mask-file", HTMLInputElement);
  press("mask-load", () => file.click());
  file.addEventListener("change", () => {
    const [chosen] = file.files ?? [];
    if (chosen) void load(chosen);
    file.value = "";
  });
}

/** Inverts the region; one without a mask becomes the whole photo. */
function invert() {
  const { photo } = get();
  const region = activeRegion();
  if (!photo || !region) return;
  const mask = inverted(region.mask ?? emptyMask(overlaySize(photo)));
  changeRegion(region.id, { mask: isEmpty(mask) ? null : mask });
}

export function startMaskTools() {
  for (const element of document.querySelectorAll("#mark-tools button")) {
    const button = /** @type {HTMLButtonElement} */ (element);
    button.addEventListener("click", () => set({ tool: /** @type {Tool} */ (button.dataset.tool) }));
    watch(["tool"], () => button.setAttribute("aria-pressed", String(get().tool === button.dataset.tool)));
  }
  const size = part("brush-size", HTMLInputElement);
  const softness = part("brush-softness", HTMLInputElement);
  size.addEventListener("input", () => set({ brush: { ...get().brush, size: Number(size.value) } }));
  softness.addEventListener("input", () => set({ brush: { ...get().brush, softness: Number(softness.value) } }));
  watch(["brush"], () => {
    size.value = String(get().brush.size);
    softness.value = String(get().brush.softness);
  });
  watch(["photo"], () => {
    // The brush's size is one of the photo: a sixth of its shorter side at the most.
    const { photo, brush } = get();
    if (!photo) return;
    const most = Math.max(40, Math.round(Math.min(photo.width, photo.height) / 3));
    size.max = String(most);
    set({ brush: { ...brush, size: Math.round(most / 4) } });
  });
  watch(["wish"], () => {
    const marked = Boolean(activeRegion()?.mask);
    for (const id of ["mask-feather", "mask-grow", "mask-shrink", "mask-clear"]) part(id, HTMLButtonElement).disabled = !marked;
    part("mask-invert", HTMLButtonElement).disabled = !activeRegion();
  });
  startOperations();
}
