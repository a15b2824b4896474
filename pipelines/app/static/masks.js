/** Masks and what is done to them: painted, grown, feathered, inverted, written as a picture. */

/** @import {Box, Mask, Point} from "./types" */

const MOST_PIXELS = 1.5e6; // of a mask and of the layers over the photo, however large that is

/**
 * The size of masks over a photo: its own, or as much of it as stays quick.
 * @param {{width: number, height: number}} photo
 * @returns {{width: number, height: number}}
 */
export function overlaySize(photo) {
  const scale = Math.min(1, Math.sqrt(MOST_PIXELS / (photo.width * photo.height)));
  return { width: Math.max(1, Math.round(photo.width * scale)), height: Math.max(1, Math.round(photo.height * scale)) };
}

/** @param {{width: number, height: number}} size @returns {Mask} */
export function emptyMask({ width, height }) {
  return { width, height, data: new Uint8Array(width * height), segments: [] };
}

/** What the server said of a mask from a file. An edit makes another mask, of which it is no longer true. @type {WeakMap<Mask, readonly string[]>} */
const notes = new WeakMap();

/** @param {Mask} mask @param {readonly string[]} said sentences */
export const noteOn = (mask, said) => notes.set(mask, said);

/** @param {Mask | null} mask */
export const notesOn = (mask) => (mask && notes.get(mask)) ?? [];

/** A copy that may be painted on until it is put into the store. @param {Mask} mask @returns {Mask} */
export function copyOf(mask) {
  return { ...mask, data: mask.data.slice(), segments: null };
}

/** @param {Mask} mask */
export const isEmpty = (mask) => !mask.data.some((value) => value > 127);

/**
 * Paints a line of the brush, in place.
 * @param {Mask} mask
 * @param {Point} from
 * @param {Point} to
 * @param {{radius: number, softness: number, erase: boolean}} brush radius in the mask's pixels; softness 0 (a hard edge) to 1
 * @returns {Box} what may have changed
 */
export function paint(mask, from, to, { radius, softness, erase }) {
  const reach = Math.max(0.75, radius);
  const left = Math.max(0, Math.floor(Math.min(from.x, to.x) - reach));
  const top = Math.max(0, Math.floor(Math.min(from.y, to.y) - reach));
  const right = Math.min(mask.width, Math.ceil(Math.max(from.x, to.x) + reach) + 1);
  const bottom = Math.min(mask.height, Math.ceil(Math.max(from.y, to.y) + reach) + 1);
  const [dx, dy] = [to.x - from.x, to.y - from.y];
  const length = dx * dx + dy * dy || 1;
  const edge = Math.max(1, softness * reach); // over how many pixels it falls off
  for (let y = top; y < bottom; y++) {
    for (let x = left; x < right; x++) {
      const along = Math.min(1, Math.max(0, ((x + 0.5 - from.x) * dx + (y + 0.5 - from.y) * dy) / length));
      const away = Math.hypot(x + 0.5 - from.x - along * dx, y + 0.5 - from.y - along * dy);
      const value = Math.round(255 * Math.min(1, Math.max(0, (reach - away) / edge)));
      const at = y * mask.width + x;
      mask.data[at] = erase ? Math.min(mask.data[at], 255 - value) : Math.max(mask.data[at], value);
    }
  }
  return { x: left, y: top, width: Math.max(0, right - left), height: Math.max(0, bottom - top) };
}

/** The mask and a rectangle, or without it. @param {Mask} mask @param {Box} box @param {boolean} erase @returns {Mask} */
export function withBox(mask, box, erase) {
  const painted = copyOf(mask);
  const left = Math.max(0, Math.round(box.x));
  const right = Math.min(mask.width, Math.round(box.x + box.width));
  const bottom = Math.min(mask.height, Math.round(box.y + box.height));
  for (let y = Math.max(0, Math.round(box.y)); y < bottom; y++) {
    if (right > left) painted.data.fill(erase ? 0 : 255, y * mask.width + left, y * mask.width + right);
  }
  return painted;
}

/** @param {Mask} mask @returns {Mask} */
export function inverted(mask) {
  return { ...mask, data: mask.data.map((value) => 255 - value), segments: null };
}

/**
 * The mask grown by so many of its pixels, or shrunk by a negative number. Its soft edge is kept on the side that stays.
 * @param {Mask} mask
 * @param {number} pixels
 * @returns {Mask}
 */
export function grown(mask, pixels) {
  const out = pixels > 0;
  const away = distances(mask, out);
  const data = mask.data.map((value, at) => {
    const reached = Math.min(1, Math.max(0, Math.abs(pixels) + 0.5 - Math.sqrt(away[at])));
    return out ? Math.max(value, Math.round(255 * reached)) : Math.min(value, Math.round(255 * (1 - reached)));
  });
  return { ...mask, data, segments: null };
}

/**
 * Squared distances to the nearest pixel of the region (or of what is not), by Felzenszwalb's lower envelope of parabolas.
 * @param {Mask} mask
 * @param {boolean} toRegion
 * @returns {Float32Array}
 */
function distances({ width, height, data }, toRegion) {
  const far = 1e9;
  const field = Float32Array.from(data, (value) => (value > 127 === toRegion ? 0 : far));
  const longest = Math.max(width, height);
  const line = new Float32Array(longest);
  const centres = new Int32Array(longest);
  const borders = new Float32Array(longest + 1);
  const pass = (/** @type {number} */ first, /** @type {number} */ step, /** @type {number} */ count) => {
    for (let i = 0; i < count; i++) line[i] = field[first + i * step];
    let last = 0;
    centres[0] = 0;
    borders[0] = -Infinity;
    borders[1] = Infinity;
    for (let i = 1; i < count; i++) {
      let border;
      for (;;) {
        const centre = centres[last];
        border = (line[i] + i * i - line[centre] - centre * centre) / (2 * (i - centre));
        if (border > borders[last] || last === 0) break;
        last--;
      }
      if (border > borders[last]) last++;
      centres[last] = i;
      borders[last] = last === 0 ? -Infinity : border;
      borders[last + 1] = Infinity;
    }
    for (let i = 0, at = 0; i < count; i++) {
      while (borders[at + 1] < i) at++;
      field[first + i * step] = (i - centres[at]) ** 2 + line[centres[at]];
    }
  };
  for (let x = 0; x < width; x++) pass(x, width, height);
  for (let y = 0; y < height; y++) pass(y * width, 1, width);
  return field;
}

/**
 * The mask with an edge that falls off over about so many pixels to each side: three box blurs, nearly a Gaussian.
 * @param {Mask} mask
 * @param {number} pixels
 * @returns {Mask}
 */
export function feathered(mask, pixels) {
  const radius = Math.max(1, Math.round(pixels / 2));
  let data = mask.data;
  for (let round = 0; round < 3; round++) {
    data = boxBlur(data, mask.width, mask.height, radius, 1, mask.width);
    data = boxBlur(data, mask.height, mask.width, radius, mask.width, 1);
  }
  return { ...mask, data, segments: null };
}

/**
 * @param {Uint8Array} data
 * @param {number} length of a line
 * @param {number} lines
 * @param {number} radius
 * @param {number} step from a pixel to the next of its line
 * @param {number} stride from a line to the next
 */
function boxBlur(data, length, lines, radius, step, stride) {
  const blurred = new Uint8Array(data.length);
  const window = 2 * radius + 1;
  for (let line = 0; line < lines; line++) {
    const first = line * stride;
    const value = (/** @type {number} */ i) => data[first + Math.min(length - 1, Math.max(0, i)) * step];
    let sum = 0;
    for (let i = -radius; i <= radius; i++) sum += value(i);
    for (let i = 0; i < length; i++) {
      blurred[first + i * step] = Math.round(sum / window);
      sum += value(i + radius + 1) - value(i - radius);
    }
  }
  return blurred;
}

/** The mask as a grey picture. @param {Mask} mask @returns {OffscreenCanvas} */
function drawn(mask) {
  const canvas = new OffscreenCanvas(mask.width, mask.height);
  const context = /** @type {OffscreenCanvasRenderingContext2D} */ (canvas.getContext("2d"));
  const image = context.createImageData(mask.width, mask.height);
  const words = new Uint32Array(image.data.buffer);
  mask.data.forEach((value, at) => (words[at] = 0xff000000 | (value * 0x010101)));
  context.putImageData(image, 0, 0);
  return canvas;
}

/** @param {Mask} mask @returns {Promise<Blob>} */
export const pngOf = (mask) => drawn(mask).convertToBlob({ type: "image/png" });

/**
 * A grey picture as a mask of this size; what is transparent in it is outside.
 * @param {CanvasImageSource} picture
 * @param {{width: number, height: number}} size
 * @returns {Mask}
 */
export function maskOf(picture, { width, height }) {
  const canvas = new OffscreenCanvas(width, height);
  const context = /** @type {OffscreenCanvasRenderingContext2D} */ (canvas.getContext("2d", { willReadFrequently: true }));
  context.fillRect(0, 0, width, height);
  context.drawImage(picture, 0, 0, width, height);
  const rgba = context.getImageData(0, 0, width, height).data;
  const data = new Uint8Array(width * height);
  for (let at = 0; at < data.length; at++) data[at] = rgba[4 * at];
  return { width, height, data, segments: null };
}

/** @param {string} address @returns {Promise<HTMLImageElement>} decoded */
export async function loaded(address) {
  const image = new Image();
  image.src = address;
  await image.decode();
  return image;
}
