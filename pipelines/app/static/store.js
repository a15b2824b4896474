/** What the page knows, in one place; who draws a part of it asks to be told of changes. */

/** @import {State, Wish, Region} from "./types" */

/** @type {Wish} */
export const EMPTY_WISH = { regions: [], active: null, others: 1, bokeh: false };

/** @type {State} */
const state = {
  model: null,
  photos: [],
  photo: null,
  segments: null,
  looking: false,
  wish: EMPTY_WISH,
  text: "",
  fault: null,
  options: { rest: "restored", feather: 8, seed: 0, settings: {} },
  mode: "mark",
  tool: "point",
  look: "wipe",
  brush: { size: 60, softness: 0.4, amount: 8 },
  jobs: {},
  shown: null,
  found: {},
  connected: true,
};

/** @typedef {keyof State} Key */
/** @type {{keys: readonly Key[], draw: () => void}[]} */
const watchers = [];
/** @type {Set<Key>} */
const changed = new Set();

/** @returns {Readonly<State>} */
export const get = () => state;

/** Takes over new values; the watchers run together, before the next frame. @param {Partial<State>} values */
export function set(values) {
  if (changed.size === 0) queueMicrotask(flush);
  for (const key of /** @type {Key[]} */ (Object.keys(values))) {
    if (state[key] === values[key]) continue;
    Object.assign(state, { [key]: values[key] });
    changed.add(key);
  }
  // Nothing differed: the flush that was asked for finds nothing.
}

/**
 * Draws now, and again whenever one of the keys has another value.
 * @param {readonly Key[]} keys
 * @param {() => void} draw
 */
export function watch(keys, draw) {
  watchers.push({ keys, draw });
  draw();
}

function flush() {
  const keys = new Set(changed);
  changed.clear();
  for (const watcher of watchers) {
    if (watcher.keys.some((key) => keys.has(key))) watcher.draw();
  }
}

const LONGEST_PAST = 24; // masks are a megapixel or two each
/** @type {Wish[]} */
let past = [];
/** @type {Wish[]} */
let future = [];
let merging = "";

/**
 * Changes the wish, so that undo brings the former one back. Changes with one non-empty `gesture` in a row (a slider that is
 * dragged) are undone together.
 * @param {Partial<Wish>} values
 * @param {string} [gesture]
 */
export function wishFor(values, gesture = "") {
  if (!gesture || gesture !== merging) {
    past = [...past.slice(1 - LONGEST_PAST), state.wish];
  }
  merging = gesture;
  future = [];
  set({ wish: { ...state.wish, ...values } });
}

/** Which region is edited: nothing to undo. @param {number | null} active */
export function activate(active) {
  if (state.wish.active !== active) set({ wish: { ...state.wish, active } });
}

/** Another photo: its wish, without a past. @param {Wish} wish */
export function startWith(wish) {
  past = [];
  future = [];
  merging = "";
  set({ wish });
}

/** @returns {boolean} whether there was something to undo */
export function undo() {
  const before = past.pop();
  if (!before) return false;
  future.push(state.wish);
  merging = "";
  set({ wish: before });
  return true;
}

/** @returns {boolean} whether there was something to redo */
export function redo() {
  const after = future.pop();
  if (!after) return false;
  past.push(state.wish);
  merging = "";
  set({ wish: after });
  return true;
}

export const undoable = () => ({ undo: past.length > 0, redo: future.length > 0 });

/** @returns {Region | undefined} */
export const activeRegion = () => state.wish.regions.find((region) => region.id === state.wish.active);
