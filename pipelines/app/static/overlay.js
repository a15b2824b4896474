/** The regions in their colours over the photo, and the part under the pointer. */

/** @import {Box, Mask, Region} from "./types" */
import { part } from "./dom.js";
import { overlaySize } from "./masks.js";
import { activeRegion, get, watch } from "./store.js";

/** Distinguishable on photos and from one another, also without red or green. */
export const COLOURS = [
  [255, 176, 0], [62, 166, 255], [0, 208, 132], [255, 94, 70], [255, 120, 196], [244, 232, 66],
  [155, 128, 255], [0, 214, 214], [190, 120, 60], [176, 230, 80], [230, 230, 230], [110, 130, 160],
];

/** @param {number} colour */
export const cssColour = (colour) => `rgb(${COLOURS[colour % COLOURS.length].join(" ")})`;

const canvas = part("overlay", HTMLCanvasElement);
const hover = part("hover", HTMLCanvasElement);

/** What is drawn of each region: redrawn where its mask is another. @type {Map<number, {mask: Mask, colour: number, layer: OffscreenCanvas}>} */
const layers = new Map();

/** A region that is being painted stands in for the store's. @type {{id: number, mask: Mask} | null} */
let working = null;

/** @param {OffscreenCanvas | HTMLCanvasElement} of */
function contextOf(of) {
  const context = of.getContext("2d");
  if (!context) throw new Error("this browser has no canvas");
  return /** @type {CanvasRenderingContext2D} */ (/** @type {unknown} */ (context));
}

/**
 * The mask within `box` in its colour: a tint, and a line where it ends.
 * @param {Mask} mask
 * @param {number} colour
 * @param {Box} box
 */
function tinted(mask, colour, box) {
  const [red, green, blue] = COLOURS[colour % COLOURS.length];
  const tint = (blue << 16) | (green << 8) | red;
  const image = new ImageData(box.width, box.height);
  const words = new Uint32Array(image.data.buffer);
  const { data, width, height } = mask;
  const reach = Math.max(1, Math.round(width / 900)); // of the line, so that a large photo shows it too
  for (let y = 0; y < box.height; y++) {
    const row = (y + box.y) * width;
    const up = Math.max(0, y + box.y - reach) * width;
    const down = Math.min(height - 1, y + box.y + reach) * width;
    for (let x = 0; x < box.width; x++) {
      const column = x + box.x;
      const value = data[row + column];
      if (value === 0) continue;
      const left = row + Math.max(0, column - reach);
      const right = row + Math.min(width - 1, column + reach);
      const edge = value > 127 && (data[up + column] < 128 || data[down + column] < 128 || data[left] < 128 || data[right] < 128);
      const alpha = edge ? 255 : (value * 72) >> 8;
      words[y * box.width + x] = (alpha << 24) | tint;
    }
  }
  return image;
}

/** @param {Region} region @param {Mask} mask @returns {OffscreenCanvas} */
function layerOf(region, mask) {
  const known = layers.get(region.id);
  if (known && known.mask === mask && known.colour === region.colour) return known.layer;
  const fits = known && known.layer.width === mask.width && known.layer.height === mask.height;
  const layer = fits ? known.layer : new OffscreenCanvas(mask.width, mask.height);
  contextOf(layer).putImageData(tinted(mask, region.colour, { x: 0, y: 0, width: mask.width, height: mask.height }), 0, 0);
  layers.set(region.id, { mask, colour: region.colour, layer });
  return layer;
}

function drawOverlay() {
  const { wish, photo, mode } = get();
  if (!photo) return;
  const context = contextOf(canvas);
  context.clearRect(0, 0, canvas.width, canvas.height);
  canvas.hidden = mode !== "mark";
  hover.hidden = mode !== "mark";
  if (mode !== "mark") return;
  const active = activeRegion();
  for (const region of wish.regions) {
    const predicted = region.mask ? null : (get().found[region.caption.toLowerCase()] ?? null);
    const mask = working?.id === region.id ? working.mask : (region.mask ?? predicted);
    if (!mask) continue;
    context.globalAlpha = region === active || !active ? 1 : 0.6;
    context.drawImage(layerOf(region, mask), 0, 0);
  }
  context.globalAlpha = 1;
}

/**
 * Shows a mask that is still being painted.
 * @param {Region} region
 * @param {Mask | null} mask null: no more
 * @param {Box} [box] what has changed since it was last shown
 */
export function showWorking(region, mask, box) {
  working = mask && { id: region.id, mask };
  const known = layers.get(region.id);
  if (mask && box && box.width > 0 && box.height > 0) {
    // The line reaches a little further than what was painted.
    const grown = widened(box, 3, mask);
    const layer = known?.layer ?? new OffscreenCanvas(mask.width, mask.height);
    contextOf(layer).putImageData(tinted(mask, region.colour, grown), grown.x, grown.y);
    layers.set(region.id, { mask, colour: region.colour, layer });
  }
  drawOverlay();
}

/** @param {Box} box @param {number} by @param {{width: number, height: number}} within @returns {Box} */
function widened(box, by, within) {
  const x = Math.max(0, box.x - by);
  const y = Math.max(0, box.y - by);
  const right = Math.min(within.width, box.x + box.width + by);
  const bottom = Math.min(within.height, box.y + box.height + by);
  return { x, y, width: right - x, height: bottom - y };
}

let lit = 0;

/**
 * Lights a part of the photo up.
 * @param {import("./segments.js").SegmentMap | null} map
 * @param {number} id 0: none
 */
export function light(map, id) {
  if (id === lit) return;
  lit = id;
  const context = contextOf(hover);
  context.clearRect(0, 0, hover.width, hover.height);
  if (!map || !id) return;
  const image = context.createImageData(hover.width, hover.height);
  const words = new Uint32Array(image.data.buffer);
  map.over(id, hover, (at) => (words[at] = 0x59ffffff));
  context.putImageData(image, 0, 0);
}

/** @param {Box | null} box in the overlay's pixels: a rectangle that is being drawn */
export function showBox(box) {
  drawOverlay();
  if (!box) return;
  const context = contextOf(canvas);
  context.lineWidth = Math.max(1, canvas.width / 600);
  context.setLineDash([context.lineWidth * 4, context.lineWidth * 3]);
  context.strokeStyle = "white";
  context.strokeRect(box.x, box.y, box.width, box.height);
}

export function startOverlay() {
  watch(["photo"], () => {
    const { photo } = get();
    layers.clear();
    working = null;
    lit = 0;
    if (!photo) return;
    const size = overlaySize(photo);
    for (const one of [canvas, hover]) Object.assign(one, size);
  });
  watch(["wish", "mode", "photo", "found"], () => {
    const kept = new Set(get().wish.regions.map((region) => region.id));
    for (const id of layers.keys()) if (!kept.has(id)) layers.delete(id);
    drawOverlay();
  });
}
