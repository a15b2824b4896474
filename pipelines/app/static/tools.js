/** What a stroke on the photo does, by tool: point at a part, brush, erase, draw a box. */

/** @import {Box, Mask, Point, Region, Stroke} from "./types" */
import { say } from "./dom.js";
import { copyOf, emptyMask, isEmpty, overlaySize, paint, withBox } from "./masks.js";
import { light, showBox, showWorking } from "./overlay.js";
import { addRegion, changeRegion, nameAfterSegments } from "./regions.js";
import { SegmentMap, titleOf } from "./segments.js";
import { activate, activeRegion, get, undo } from "./store.js";

/** @type {SegmentMap | null} */
let map = null;
/** @type {{tool: "brush" | "box", region: Region, fresh: boolean, mask: Mask, from: Point, last: Point, erase: boolean} | null} */
let stroke = null;
/** @type {Point | null} */
let pointed = null;
let gestures = 0;

/** What names one stroke or click: all that it changes is undone together. */
const gesture = () => `gesture ${gestures}`;

/** @param {SegmentMap | null} found */
export function useSegments(found) {
  map = found;
  light(null, 0);
}

export const segmentMap = () => map;
export const busy = () => stroke !== null;

/** @param {Point} place in the overlay's pixels */
function segmentAt(place) {
  const { photo } = get();
  if (!photo || !map) return 0;
  const size = overlaySize(photo);
  return map.under({ x: place.x / size.width, y: place.y / size.height });
}

/** What the model found for a region: a stroke goes on from there. @param {Region} region @returns {Mask | undefined} */
const predictedFor = (region) => get().found[region.caption.toLowerCase()];

/** @param {Stroke} at */
export function hover({ at }) {
  light(map, get().tool === "point" ? segmentAt(at) : 0);
}

export function leave() {
  light(null, 0);
}

/** @param {Stroke} pressed */
export function start({ at, alt }) {
  const { tool } = get();
  gestures++;
  if (tool === "point") {
    pointed = at;
    light(map, segmentAt(at));
    return;
  }
  if (tool !== "brush" && tool !== "erase" && tool !== "box") return;
  const { photo } = get();
  if (!photo) return;
  const erase = (tool === "erase") !== (alt && tool !== "box") || (tool === "box" && alt);
  const active = activeRegion();
  if (erase && !(active && (active.mask ?? predictedFor(active)))) return;
  const region = active ?? addRegion({}, gesture());
  if (!region) return;
  const mask = copyOf(region.mask ?? predictedFor(region) ?? emptyMask(overlaySize(photo)));
  stroke = { tool: tool === "box" ? "box" : "brush", region, fresh: !active, mask, from: at, last: at, erase };
  move({ at, alt, shift: false });
}

/** @param {Stroke} moved */
export function move({ at }) {
  if (!stroke) return;
  if (stroke.tool === "box") {
    showBox(boxOf(stroke.from, at));
  } else {
    const { brush, photo } = get();
    const scale = photo ? stroke.mask.width / photo.width : 1;
    const radius = (brush.size * scale) / 2;
    const box = paint(stroke.mask, stroke.last, at, { radius, softness: brush.softness, erase: stroke.erase });
    showWorking(stroke.region, stroke.mask, box);
  }
  stroke.last = at;
}

/** @param {Stroke} released */
export function end({ at }) {
  if (!stroke) {
    if (pointed && get().tool === "point") point(pointed);
    pointed = null;
    return;
  }
  const { tool, region, fresh, from, erase } = stroke;
  let mask = stroke.mask;
  stroke = null;
  showWorking(region, null);
  if (tool === "box") {
    const box = boxOf(from, at);
    showBox(null);
    if (box.width < 2 || box.height < 2) {
      if (fresh) undo();
      return;
    }
    mask = withBox(mask, box, erase);
  }
  changeRegion(region.id, { mask: isEmpty(mask) ? null : mask }, gesture());
}

/** Leaves a stroke that a second finger or Escape has interrupted. */
export function abandon() {
  pointed = null;
  if (!stroke) return;
  const { region, fresh } = stroke;
  stroke = null;
  showWorking(region, null);
  if (fresh) undo(); // the region was made for this stroke alone
}

/** @param {Point} a @param {Point} b @returns {Box} */
function boxOf(a, b) {
  return { x: Math.min(a.x, b.x), y: Math.min(a.y, b.y), width: Math.abs(a.x - b.x), height: Math.abs(a.y - b.y) };
}

/** @param {Point} at */
function point(at) {
  const id = segmentAt(at);
  if (id) togglePart(id);
  else say(get().looking ? "Still looking at what is in the photo." : "There is no part of the photo here.");
}

/**
 * A part of the photo joins the active region or leaves it; where it lies in another region, that one becomes active.
 * @param {number} id
 */
export function togglePart(id) {
  const { photo, wish, segments } = get();
  if (!photo || !map) return;
  const segment = segments?.segments.find((one) => one.id === id);
  const active = activeRegion();
  const there = map;
  if (!active?.mask || !there.isIn(id, active.mask)) {
    const other = wish.regions.find((region) => region !== active && region.mask && there.isIn(id, region.mask));
    if (other) {
      activate(other.id);
      say(`${other.caption} is the active region`);
      return;
    }
  }
  gestures++;
  const region = active ?? addRegion({}, gesture());
  if (!region) return;
  const mask = there.toggled(region.mask ?? emptyMask(overlaySize(photo)), id);
  const joined = there.isIn(id, mask);
  changeRegion(region.id, { mask: isEmpty(mask) ? null : mask }, gesture());
  nameAfterSegments(region.id, gesture());
  const named = segment ? titleOf(segment) : "the part";
  say(joined ? `${named} joins the region` : `${named} leaves the region`);
}
