/** A brush over the photo: a region's mask made better, or a new one. It paints at the photo's own size. */

/** @import {Photo, Region} from "./types" */
import { part, tell } from "../dom.js";
import { at } from "./api.js";
import { maskOf } from "./coco.js";

const MOST_PIXELS = 40e6; // a canvas of more is more than browsers give
const COLOUR = "#ffb000";

/** @type {HTMLCanvasElement | null} */
let painted = null;
/** @type {{x: number, y: number} | null} */
let last = null;

export const isPainting = () => painted !== null;

const view = () => part("brush-canvas", HTMLCanvasElement);

/**
 * Begins with a region's mask, or with none.
 * @param {Photo} photo
 * @param {Region | null} region
 */
export async function paint(photo, region) {
  if (photo.width * photo.height > MOST_PIXELS) {
    tell("This photo is too large for the brush.", "fault");
    return false;
  }
  const canvas = document.createElement("canvas");
  canvas.width = photo.width;
  canvas.height = photo.height;
  if (region) {
    const image = new Image();
    image.src = at.judgedMask(photo.key, region.id);
    await image.decode();
    const pen = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d", { willReadFrequently: true }));
    pen.drawImage(image, 0, 0);
  }
  painted = canvas;
  const shown = part("regions-canvas", HTMLCanvasElement);
  view().width = shown.width;
  view().height = shown.height;
  view().hidden = false;
  shown.hidden = true;
  part("brush-bar", HTMLElement).hidden = false;
  draw();
  return true;
}

/** The painted mask at the photo's size; its area is 0 where nothing is painted. */
export function result() {
  if (!painted) throw new Error("nothing is being painted");
  const pen = /** @type {CanvasRenderingContext2D} */ (painted.getContext("2d", { willReadFrequently: true }));
  return maskOf(pen.getImageData(0, 0, painted.width, painted.height));
}

export function stop() {
  painted = null;
  last = null;
  view().hidden = true;
  part("regions-canvas", HTMLCanvasElement).hidden = false;
  part("brush-bar", HTMLElement).hidden = true;
}

function draw() {
  if (!painted) return;
  const pen = /** @type {CanvasRenderingContext2D} */ (view().getContext("2d"));
  const { width, height } = view();
  pen.globalCompositeOperation = "source-over";
  pen.globalAlpha = 1;
  pen.clearRect(0, 0, width, height);
  pen.drawImage(painted, 0, 0, width, height);
  pen.globalCompositeOperation = "source-in";
  pen.globalAlpha = 0.55;
  pen.fillStyle = COLOUR;
  pen.fillRect(0, 0, width, height);
}

/** @param {PointerEvent} event */
function stroke(event) {
  if (!painted || !(event.buttons & 1)) return;
  const box = view().getBoundingClientRect();
  const scale = painted.width / box.width;
  const here = { x: (event.clientX - box.left) * scale, y: (event.clientY - box.top) * scale };
  const from = last ?? here;
  const pen = /** @type {CanvasRenderingContext2D} */ (painted.getContext("2d", { willReadFrequently: true }));
  const erases = event.shiftKey || part("brush-erases", HTMLInputElement).checked;
  pen.globalCompositeOperation = erases ? "destination-out" : "source-over";
  pen.strokeStyle = "#fff";
  pen.lineCap = "round";
  pen.lineWidth = Number(part("brush-width", HTMLInputElement).value) * scale;
  pen.beginPath();
  pen.moveTo(from.x, from.y);
  pen.lineTo(here.x + 0.01, here.y);
  pen.stroke();
  last = here;
  draw();
  event.preventDefault();
}

export function startBrush() {
  view().addEventListener("pointerdown", (event) => {
    view().setPointerCapture(event.pointerId);
    last = null;
    stroke(event);
  });
  view().addEventListener("pointermove", stroke);
  view().addEventListener("pointerup", () => (last = null));
}
