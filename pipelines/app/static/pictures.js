/** The pictures of the photo and of a result: a smaller one at once, the full one where the zoom shows more than it has. */

/** @import {Photo, Job, Result} from "./types" */
import { at } from "./api.js";
import { part } from "./dom.js";
import { loaded } from "./masks.js";
import { view } from "./stage.js";

const FIRST = 2048; // pixels of the longer side
const LOSSLESS = 4e6; // pixels up to which results are shown as PNG

const before = part("before", HTMLImageElement);
const after = part("after", HTMLImageElement);
const afterTwo = part("after-two", HTMLImageElement);

/** @typedef {{small: string, full: string, longest: number, wide: boolean}} Source `wide`: the full one is larger than the first */
/** @type {{before: Source | null, after: Source | null}} */
const sources = { before: null, after: null };
let local = "";

/** Shows a file before the server has it. @param {File} file @returns {Promise<void>} */
export async function showLocal(file) {
  const address = URL.createObjectURL(file);
  try {
    const image = await loaded(address);
    release();
    local = address;
    before.src = address;
    view.fit({ width: image.naturalWidth, height: image.naturalHeight });
  } catch {
    URL.revokeObjectURL(address); // a format that the server reads and this browser does not
  }
}

function release() {
  if (local) URL.revokeObjectURL(local);
  local = "";
}

/** @param {{width: number, height: number}} picture @param {(longest?: number) => string} address @returns {Source} */
function sourceOf({ width, height }, address) {
  const longest = Math.max(width, height);
  const wide = longest > FIRST;
  return { small: address(wide ? FIRST : undefined), full: address(), longest, wide };
}

/** @param {Photo} photo @returns {Promise<void>} resolved when it is seen */
export async function showPhoto(photo) {
  const source = sourceOf(photo, (longest) => at.picture(photo.id, longest));
  sources.before = source;
  sources.after = null;
  if (!local) before.removeAttribute("src");
  await loaded(source.small);
  if (sources.before !== source) return;
  before.src = source.small;
  release();
  sharpen();
}

/** @param {Job} job @param {Result} result @returns {Promise<void>} */
export async function showResult(job, result) {
  const format = result.width * result.height > LOSSLESS ? "jpeg" : "png";
  const source = sourceOf(result, (longest) => at.result(job.id, result.name, longest ? "png" : format, longest));
  sources.after = source;
  await loaded(source.small);
  if (sources.after !== source) return;
  after.src = afterTwo.src = source.small;
  sharpen();
}

/** Takes the full pictures where more of them is seen than the first ones have. */
function sharpen() {
  const shown = Math.max(view.photo.width, view.photo.height) * view.zoom;
  if (shown < FIRST * 1.2) return;
  for (const [name, elements] of /** @type {["before" | "after", HTMLImageElement[]][]} */ ([
    ["before", [before]], ["after", [after, afterTwo]],
  ])) {
    const source = sources[name];
    if (!source?.wide) continue;
    source.wide = false; // asked for once
    void loaded(source.full).then(() => {
      if (sources[name] === source) for (const element of elements) element.src = source.full;
    });
  }
}

/** @type {ReturnType<typeof setTimeout> | undefined} */
let soon;

export function startPictures() {
  view.moved.push(() => {
    clearTimeout(soon);
    soon = setTimeout(sharpen, 200);
  });
}
