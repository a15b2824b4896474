/** What the model takes for the regions, and what a job was asked: both brought back onto the screen. */

/** @import {CaptionScale, Job, Mask} from "./types" */
import { api, at } from "./api.js";
import { tell, tellFault } from "./dom.js";
import { rememberMask } from "./jobs.js";
import { loaded, maskOf, overlaySize } from "./masks.js";
import { freshId } from "./regions.js";
import { get, set, wishFor } from "./store.js";

/** Shows the masks that a job has found over the photo. @param {Job} job */
export async function rememberFound(job) {
  const { photo } = get();
  if (!photo || job.photo !== photo.id) return;
  try {
    const size = overlaySize(photo);
    const masks = job.results.filter((result) => result.kind === "mask");
    const pictures = await Promise.all(masks.map((mask) => loaded(at.result(job.id, mask.name, "png", Math.max(size.width, size.height)))));
    if (get().photo?.id !== photo.id) return;
    /** @type {Record<string, Mask>} */
    const found = {};
    masks.forEach((mask, place) => (found[(mask.caption ?? "").toLowerCase()] = maskOf(pictures[place], size)));
    set({ found: { ...get().found, ...found }, mode: "mark" });
    const words = masks.map((mask) => `${mask.caption}: ${((mask.share ?? 0) * 100).toFixed(0)}% of the photo`);
    if (words.length) tell(words.join(", "));
  } catch (error) {
    tellFault(error);
  }
}

/** @param {Job} job @returns {Promise<{regions: CaptionScale[], others: number, bokeh: boolean}>} */
export async function wishOf(job) {
  const { instruction } = job.asked;
  return typeof instruction === "string" ? api.parse(instruction) : instruction;
}

/** The regions and settings that a job was asked for. @param {Job} job */
export async function takeBack(job) {
  const { photo } = get();
  if (!photo || photo.id !== job.photo) return;
  try {
    const size = overlaySize(photo);
    const wish = await wishOf(job);
    const regions = await Promise.all(
      wish.regions.map(async ({ caption, scale }, place) => {
        const id = job.asked.masks?.[place] ?? null;
        const mask = id ? maskOf(await loaded(at.mask(id, Math.max(size.width, size.height))), size) : null;
        if (mask && id) rememberMask(mask, id);
        return { id: freshId(), caption, own: true, scale, colour: place, mask };
      }),
    );
    if (get().photo?.id !== photo.id) return;
    wishFor({ regions, active: regions[0]?.id ?? null, others: wish.others, bokeh: wish.bokeh });
    const { rest, feather, seed, settings } = job.asked;
    set({ mode: "mark", options: { rest: rest ?? "restored", feather: feather ?? 8, seed: seed ?? 0, settings: settings ?? {} } });
  } catch (error) {
    tellFault(error);
  }
}
