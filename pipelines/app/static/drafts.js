/** What was marked and written for each photo, kept in this browser, so that a reload loses nothing. */

/** @import {Mask, Options, Photo, Region, Wish} from "./types" */
import { loaded, maskOf, overlaySize, pngOf } from "./masks.js";
import { freshId } from "./regions.js";
import { get, watch } from "./store.js";

const PREFIX = "instructrestore draft ";
const MOST_DRAFTS = 12;
const SAVE_AFTER = 500; // milliseconds without a change

/** @typedef {Omit<Region, "id" | "mask"> & {mask: string | null, segments: readonly number[] | null}} SavedRegion */
/** @typedef {{regions: SavedRegion[], active: number, others: number, bokeh: boolean, options: Options, saved: number}} Draft */

/** @type {WeakMap<Mask, string>} */
const written = new WeakMap();

/** @param {Mask} mask @returns {Promise<string>} a data URL */
async function textOf(mask) {
  const known = written.get(mask);
  if (known) return known;
  const blob = await pngOf(mask);
  const text = await new Promise((resolve) => {
    const reader = new FileReader();
    reader.addEventListener("load", () => resolve(String(reader.result)));
    reader.readAsDataURL(blob);
  });
  written.set(mask, text);
  return text;
}

async function save() {
  const { photo, wish, options } = get();
  if (!photo) return;
  if (wish.regions.length === 0) {
    dropDraft(photo.id);
    return;
  }
  const regions = await Promise.all(
    wish.regions.map(async ({ caption, own, scale, colour, mask }) => ({
      caption, own, scale, colour, mask: mask && (await textOf(mask)), segments: mask?.segments ?? null,
    })),
  );
  const active = wish.regions.findIndex((region) => region.id === wish.active);
  /** @type {Draft} */
  const draft = { regions, active, others: wish.others, bokeh: wish.bokeh, options, saved: Date.now() };
  try {
    localStorage.setItem(PREFIX + photo.id, JSON.stringify(draft));
  } catch {
    dropDrafts(1); // there is no more room: the others go
  }
  const names = draftNames();
  if (names.length > MOST_DRAFTS) dropDrafts(MOST_DRAFTS);
}

const draftNames = () => Object.keys(localStorage).filter((name) => name.startsWith(PREFIX));

/** @param {string} name @returns {Draft | null} */
function readDraft(name) {
  try {
    return JSON.parse(localStorage.getItem(name) ?? "null");
  } catch {
    return null;
  }
}

/** @param {string} photo its id */
export const dropDraft = (photo) => localStorage.removeItem(PREFIX + photo);

/** Keeps only the latest. @param {number} [kept] */
export function dropDrafts(kept = 0) {
  const names = draftNames().sort((a, b) => (readDraft(b)?.saved ?? 0) - (readDraft(a)?.saved ?? 0));
  for (const name of names.slice(kept)) localStorage.removeItem(name);
}

/** @param {Photo} photo @returns {Promise<{wish: Wish, options: Options} | null>} */
export async function draftOf(photo) {
  const draft = readDraft(PREFIX + photo.id);
  if (!draft) return null;
  const size = overlaySize(photo);
  const regions = await Promise.all(
    draft.regions.map(async ({ mask, segments, ...region }) => ({
      ...region,
      id: freshId(),
      mask: mask ? { ...maskOf(await loaded(mask), size), segments } : null,
    })),
  );
  const active = regions[draft.active]?.id ?? null;
  return { wish: { regions, active, others: draft.others, bokeh: draft.bokeh }, options: draft.options };
}

export function startDrafts() {
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let soon;
  watch(["wish", "options"], () => {
    clearTimeout(soon);
    soon = setTimeout(save, SAVE_AFTER);
  });
  window.addEventListener("pagehide", () => void save());
}
