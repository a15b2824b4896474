/**
 * The photos, of which only those on the screen are elements. A million of them would be higher than a browser can
 * scroll: then the scrollbar stands for all of them, and small steps are still steps of pixels.
 */

/** @import {Item} from "./types" */
import { make, part } from "../dom.js";
import { at } from "./api.js";
import { item, total } from "./pages.js";
import { counted, shown } from "./text.js";
import { get } from "./wanted.js";

const HIGHEST = 8e6; // pixels that every browser scrolls
const LEAST_TILE = { wide: 176, narrow: 108 }; // pixels across
const GAP = 8;
const FOOT = 42; // pixels of the words under a picture
const SETTLED = 120; // milliseconds after which scrolling has come to rest
const PICTURES_AFTER = 60;

/** @type {Map<number, HTMLElement>} */
let tiles = new Map();
let active = 0;
let offset = 0; // pixels from the top of all photos to the top of the screen
let lastTop = 0;
/** @type {ReturnType<typeof setTimeout> | undefined} */
let resting;
/** @type {ReturnType<typeof setTimeout> | undefined} */
let loading;
/** @type {(index: number) => void} */
let opened = () => {};

const box = () => part("grid", HTMLElement);

function sizes() {
  const view = box();
  const width = Math.max(view.clientWidth - GAP, 80);
  const least = width < 500 ? LEAST_TILE.narrow : LEAST_TILE.wide;
  const columns = Math.max(1, Math.floor(width / (least + GAP)));
  const across = width / columns;
  const down = Math.round((across - GAP) * 0.75) + FOOT + GAP;
  const rows = Math.ceil(total() / columns);
  return { columns, across, down, rows, all: rows * down + GAP, seen: view.clientHeight };
}

/** Draws what is on the screen now. */
export function draw() {
  const { columns, across, down, all, seen } = sizes();
  const scrolled = Math.min(all, HIGHEST);
  part("grid-height", HTMLElement).style.height = `${scrolled}px`;
  offset = Math.max(0, Math.min(offset, all - seen));
  const first = Math.max(0, Math.floor(offset / down) - 1) * columns;
  const last = Math.min(total(), (Math.ceil((offset + seen) / down) + 1) * columns);
  for (const [index, tile] of tiles) {
    if (index < first || index >= last) {
      tile.querySelector("img")?.removeAttribute("src"); // which ends its request
      tile.remove();
      tiles.delete(index);
    }
  }
  const layer = part("tiles", HTMLElement);
  for (let index = first; index < last; index++) {
    let tile = tiles.get(index);
    const known = item(index);
    const stamp = known ? ("key" in known ? known.key : `dropped ${known.number}`) : "";
    if (!tile || tile.dataset.stamp !== stamp) {
      tile?.remove();
      tile = tileOf(index, known);
      tile.dataset.stamp = stamp;
      tiles.set(index, tile);
      layer.append(tile);
    }
    const row = Math.floor(index / columns);
    tile.style.width = `${across - GAP}px`;
    tile.style.height = `${down - GAP}px`;
    tile.style.transform = `translate(${GAP + (index % columns) * across}px, ${GAP + row * down - offset}px)`;
    tile.classList.toggle("active", index === active);
    tile.setAttribute("aria-selected", String(index === active));
  }
  if (tiles.has(active)) box().setAttribute("aria-activedescendant", `tile-${active}`);
  else box().removeAttribute("aria-activedescendant");
  clearTimeout(loading);
  loading = setTimeout(loadPictures, PICTURES_AFTER);
}

/** @param {number} index @param {Item | undefined} known */
function tileOf(index, known) {
  const tile = make("div", {
    class: "tile", role: "option", id: `tile-${index}`, "aria-posinset": index + 1, "aria-setsize": total(),
    "aria-label": known ? words(known) : "Being read", onclick: () => open(index),
  });
  if (!known) return tile;
  const picture = make("img", { alt: "", draggable: "false", decoding: "async" });
  picture.dataset.src = "key" in known ? at.thumbnail(known.key, get().regions === "1") : at.dropped(known.number);
  picture.addEventListener("error", () => picture.getAttribute("src") && tile.classList.add("unseen-picture"));
  const [above, below] = "key" in known
    ? [known.subjects.slice(0, 12).join(", "), `${known.quality === null ? "" : `quality ${known.quality.toFixed(0)}, `}${counted(known.subjects.length, "region")}`]
    : [known.reason, known.name];
  tile.append(picture, make("p", { class: "above" }, shown(above, 200)), make("p", { class: "below" }, shown(below, 200)));
  return tile;
}

/** @param {Item} known */
function words(known) {
  if (!("key" in known)) return shown(`${known.name}, left out by ${known.stage}: ${known.reason}`, 300);
  const quality = known.quality === null ? "" : `, quality ${known.quality.toFixed(0)}`;
  return shown(`Photo ${known.key.slice(0, 8)}${quality}, ${counted(known.subjects.length, "region")}: ${known.subjects.join(", ")}`, 300);
}

function loadPictures() {
  for (const tile of tiles.values()) {
    const picture = tile.querySelector("img");
    if (picture?.dataset.src && !picture.getAttribute("src")) picture.src = picture.dataset.src;
  }
}

/** Other photos: from the first one on. */
export function reset() {
  for (const tile of tiles.values()) tile.remove();
  tiles = new Map();
  active = 0;
  offset = 0;
  lastTop = 0;
  box().scrollTop = 0;
  draw();
}

/** The same photos with other pictures. */
export function redraw() {
  for (const tile of tiles.values()) tile.remove();
  tiles = new Map();
  draw();
}

/** @param {number} index */
export function activate(index) {
  if (!total()) return;
  active = Math.max(0, Math.min(index, total() - 1));
  const { columns, down, all, seen } = sizes();
  const top = Math.floor(active / columns) * down;
  if (top < offset) offset = top;
  else if (top + down + GAP > offset + seen) offset = top + down + GAP - seen;
  offset = Math.max(0, Math.min(offset, all - seen));
  align();
  draw();
}

export const activeIndex = () => active;

/** @param {number} index */
function open(index) {
  activate(index);
  box().focus({ preventScroll: true });
  opened(index);
}

/** Brings the scrollbar to where the photos are. */
function align() {
  const { all, seen } = sizes();
  const bar = Math.min(all, HIGHEST) - seen;
  const top = all <= HIGHEST ? offset : Math.round((offset / Math.max(1, all - seen)) * bar);
  lastTop = top;
  box().scrollTop = top;
  lastTop = box().scrollTop;
}

function scrolled() {
  const { all, seen } = sizes();
  const top = box().scrollTop;
  if (top === lastTop) return;
  const bar = Math.min(all, HIGHEST) - seen;
  const step = top - lastTop;
  lastTop = top;
  if (all <= HIGHEST) offset = top;
  else if (top <= 0) offset = 0;
  else if (top >= bar - 1) offset = all - seen;
  else if (Math.abs(step) < seen) offset += step;
  else offset = (top / bar) * (all - seen);
  draw();
  clearTimeout(resting);
  resting = setTimeout(() => all > HIGHEST && align(), SETTLED);
}

/** @param {KeyboardEvent} event */
function press(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const { columns, down, seen } = sizes();
  const screen = Math.max(1, Math.floor(seen / down)) * columns;
  /** @type {Record<string, number>} */
  const steps = {
    ArrowRight: active + 1, ArrowLeft: active - 1, ArrowDown: active + columns, ArrowUp: active - columns,
    PageDown: active + screen, PageUp: active - screen, Home: 0, End: total() - 1,
  };
  if (event.key in steps) activate(steps[event.key]);
  else if (event.key === "Enter" || event.key === " ") opened(active);
  else return;
  event.preventDefault();
}

/** @param {(index: number) => void} open is called with the photo that is opened */
export function startGrid(open) {
  opened = open;
  box().addEventListener("scroll", scrolled, { passive: true });
  box().addEventListener("keydown", press);
  new ResizeObserver(() => {
    draw();
    align();
  }).observe(box());
}
