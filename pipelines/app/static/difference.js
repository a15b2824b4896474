/** How a result differs from the photo outside its regions, or in all of it, brightened so that it is seen. */

/** @import {Job, Photo, Region, Result} from "./types" */
import { at } from "./api.js";
import { grown, loaded, maskOf, overlaySize } from "./masks.js";

export const BRIGHTER = 8;
const GREY = 70; // of a region that is left out

/**
 * @param {HTMLCanvasElement} canvas
 * @param {Photo} photo
 * @param {Job} job
 * @param {Result} result
 * @param {readonly Region[]} regions their masks stand in where the job has none of its own
 * @param {boolean} everywhere the regions' own differences are drawn too
 * @returns {Promise<string>} what was found, as a sentence
 */
export async function drawDifference(canvas, photo, job, result, regions, everywhere) {
  const size = overlaySize(photo);
  const whole = size.width === photo.width && size.height === photo.height;
  const longest = whole ? undefined : Math.max(size.width, size.height);
  const masks = job.results.filter((one) => one.kind === "mask");
  const [before, after, ...regionPictures] = await Promise.all([
    loaded(at.picture(photo.id, longest)),
    loaded(at.result(job.id, result.name, "png", longest)),
    ...masks.map((mask) => loaded(at.result(job.id, mask.name, "png", longest))),
  ]);
  /** @type {Uint8Array} */
  let inside = new Uint8Array(size.width * size.height);
  const drawn = regionPictures.length
    ? regionPictures.map((picture) => maskOf(picture, size))
    : regions.flatMap((region) => (region.mask ? [region.mask] : []));
  for (const mask of drawn) mask.data.forEach((value, place) => (inside[place] = Math.max(inside[place], value)));
  const { rest, feather } = job.asked;
  if (rest === "keep" && feather) {
    // The edge is blended over so many pixels around the regions; one more, since both pictures may be made smaller.
    inside = grown({ ...size, data: inside, segments: null }, (feather * size.width) / photo.width + 1).data;
  }

  const [was, is] = [before, after].map((picture) => pixels(picture, size));
  Object.assign(canvas, size);
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  const image = context.createImageData(size.width, size.height);
  const faint = rest === "keep" ? 0 : 2;
  const sums = [{ pixels: 0, most: 0, sum: 0 }, { pixels: 0, most: 0, sum: 0 }]; // outside, inside
  for (let place = 0; place < inside.length; place++) {
    const of = 4 * place;
    image.data[of + 3] = 255;
    // A soft edge belongs to the region: there the result is blended in on purpose.
    const within = inside[place] > faint;
    const figures = sums[Number(within)];
    figures.pixels++;
    for (let channel = 0; channel < 3; channel++) {
      const away = Math.abs(was[of + channel] - is[of + channel]);
      figures.most = Math.max(figures.most, away);
      figures.sum += away;
      image.data[of + channel] = within && !everywhere ? GREY : Math.min(255, away * BRIGHTER);
    }
  }
  context.putImageData(image, 0, 0);
  const [without, within] = sums.map(words);
  const first = without ? `Outside the regions ${without}.` : "The regions cover the whole photo.";
  if (everywhere) return within ? `${first} Inside ${within}.` : first;
  return within ? `${first} The regions are grey.` : first;
}

/** @param {{pixels: number, most: number, sum: number}} sums @returns {string} "" where there is no pixel */
function words({ pixels, most, sum }) {
  if (pixels === 0) return "";
  if (most === 0) return "no pixel differs";
  return `the difference is ${(sum / pixels / 3).toFixed(1)} levels of 255 on average, ${most} at most`;
}

/** @param {CanvasImageSource} picture @param {{width: number, height: number}} size */
function pixels(picture, { width, height }) {
  const canvas = new OffscreenCanvas(width, height);
  const context = /** @type {OffscreenCanvasRenderingContext2D} */ (canvas.getContext("2d", { willReadFrequently: true }));
  context.drawImage(picture, 0, 0, width, height);
  return context.getImageData(0, 0, width, height).data;
}
