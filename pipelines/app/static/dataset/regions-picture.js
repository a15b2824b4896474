/** A photo with its regions in colour; what is under the pointer lights up. */

/** @import {Photo} from "./types" */
import { part } from "../dom.js";
import { at } from "./api.js";

const LONGEST = 1280; // pixels of the picture and the masks
const FILLED = 0.38;
const EDGE = 2;

/** @typedef {{tinted: HTMLCanvasElement, alpha: Uint8ClampedArray}} Layer */
/** @type {(Layer | null)[]} */
let layers = [];
/** @type {Map<string, HTMLImageElement>} masks of this photo, by the regions' ids, which follow from them */
let masks = new Map();
/** @type {Photo | null} */
let photo = null;
/** @type {ReadonlySet<number>} */
let hidden = new Set();
let lit = -1;
/** @type {Layer | null} */
let piece = null;
let asked = 0;

const canvas = () => part("regions-canvas", HTMLCanvasElement);

/** @param {string} address @returns {Promise<HTMLImageElement>} */
async function loaded(address) {
  const image = new Image();
  image.src = address;
  await image.decode();
  return image;
}

/** @param {HTMLImageElement} image @param {string} colour @returns {Layer} */
function layerOf(image, colour) {
  const { width, height } = canvas();
  const tinted = document.createElement("canvas");
  tinted.width = width;
  tinted.height = height;
  const pen = /** @type {CanvasRenderingContext2D} */ (tinted.getContext("2d", { willReadFrequently: true }));
  pen.drawImage(image, 0, 0, width, height);
  const { data } = pen.getImageData(0, 0, width, height);
  const alpha = new Uint8ClampedArray(width * height);
  for (let place = 0; place < alpha.length; place++) alpha[place] = data[4 * place + 3];
  pen.globalCompositeOperation = "source-in";
  pen.fillStyle = colour;
  pen.fillRect(0, 0, width, height);
  return { tinted, alpha };
}

/** Shows a photo; its regions come one after the other. @param {Photo} shown */
export async function show(shown) {
  const mine = ++asked;
  if (photo?.key !== shown.key) masks = new Map();
  const same = photo?.key === shown.key;
  photo = shown;
  layers = shown.regions.map(() => null);
  hidden = new Set();
  lit = -1;
  piece = null;
  const scale = Math.min(1, LONGEST / Math.max(shown.width, shown.height));
  const view = canvas();
  view.width = Math.max(1, Math.round(shown.width * scale)); // which clears it
  view.height = Math.max(1, Math.round(shown.height * scale));
  const picture = part("whole-picture", HTMLImageElement);
  picture.width = view.width;
  picture.height = view.height;
  if (!same) picture.src = at.picture(shown.key, LONGEST);
  await Promise.all(shown.regions.map(async (region, number) => {
    const image = masks.get(region.id) ?? (await loaded(at.judgedMask(shown.key, region.id, LONGEST)).catch(() => null));
    if (mine !== asked || !image) return;
    masks.set(region.id, image);
    layers[number] = layerOf(image, region.colour);
    draw();
  }));
}

/** No photo any more. */
export function forget() {
  asked += 1;
  photo = null;
  layers = [];
  part("whole-picture", HTMLImageElement).removeAttribute("src");
}

function draw() {
  const view = canvas();
  const pen = /** @type {CanvasRenderingContext2D} */ (view.getContext("2d"));
  pen.clearRect(0, 0, view.width, view.height);
  view.dataset.arrived = String(layers.filter(Boolean).length);
  if (piece) {
    outline(pen, piece, 1);
    return;
  }
  layers.forEach((layer, number) => {
    if (!layer || hidden.has(number) || number === lit) return;
    pen.globalAlpha = lit >= 0 ? FILLED / 3 : FILLED;
    pen.drawImage(layer.tinted, 0, 0);
    outline(pen, layer, lit >= 0 ? 0.4 : 1);
  });
  const top = layers[lit];
  if (!top || hidden.has(lit)) return;
  pen.globalAlpha = FILLED + 0.12;
  pen.drawImage(top.tinted, 0, 0);
  outline(pen, top, 1);
}

/** The rim of a layer. @param {CanvasRenderingContext2D} pen @param {Layer} layer @param {number} opacity */
function outline(pen, layer, opacity) {
  const rim = document.createElement("canvas");
  rim.width = pen.canvas.width;
  rim.height = pen.canvas.height;
  const inner = /** @type {CanvasRenderingContext2D} */ (rim.getContext("2d"));
  for (const [x, y] of [[-EDGE, 0], [EDGE, 0], [0, -EDGE], [0, EDGE]]) inner.drawImage(layer.tinted, x, y);
  inner.globalCompositeOperation = "destination-out";
  inner.drawImage(layer.tinted, 0, 0);
  pen.globalAlpha = opacity;
  pen.drawImage(rim, 0, 0);
  pen.globalAlpha = 1;
}

/** @param {number} number of the region that stands out; -1: none does */
export function light(number) {
  if (number === lit && !piece) return;
  lit = number;
  piece = null;
  draw();
}

/** @param {ReadonlySet<number>} numbers of the regions that are not drawn */
export function hide(numbers) {
  hidden = numbers;
  draw();
}

/** One piece alone, of the data set's own region. @param {number} region @param {number} number */
export async function showPiece(region, number) {
  if (!photo) return;
  const mine = asked;
  const image = await loaded(at.piece(photo.key, region, number, LONGEST)).catch(() => null);
  if (mine !== asked || !image || !photo) return;
  piece = layerOf(image, photo.regions[region].colour);
  draw();
}

/** The region at a place on the screen: of several the smallest. @param {number} x @param {number} y */
export function regionAt(x, y) {
  const view = canvas();
  const box = view.getBoundingClientRect();
  const column = Math.floor(((x - box.left) / box.width) * view.width);
  const row = Math.floor(((y - box.top) / box.height) * view.height);
  if (column < 0 || row < 0 || column >= view.width || row >= view.height || !photo) return -1;
  let found = -1;
  layers.forEach((layer, number) => {
    if (!layer || hidden.has(number) || layer.alpha[row * view.width + column] < 128) return;
    if (found < 0 || (photo?.regions[number].area ?? 0) < (photo?.regions[found].area ?? 0)) found = number;
  });
  return found;
}
