/** The photos that are looked for, a page of them at a time, as they are needed. */

/** @import {Item} from "./types" */
import { api } from "./api.js";
import { choosing, get, leftOut } from "./wanted.js";

const PAGE = 100;
const KEPT = 60; // pages
/** @type {Map<number, Item[] | null>} null: asked for */
let pages = new Map();
let round = 0; // another one whenever something else is looked for
let count = 0;
/** @type {(fault?: unknown) => void} */
let told = () => {};

export const total = () => count;

/** @param {(fault?: unknown) => void} came is called whenever photos have come, or none could */
export function startPages(came) {
  told = came;
}

/** Something else is looked for: asks for its first page. */
export async function begin() {
  round += 1;
  pages = new Map();
  await fetchPage(0);
}

/** A photo by its place among all, undefined until it has come. @param {number} index @returns {Item | undefined} */
export function item(index) {
  const number = Math.floor(index / PAGE);
  const page = pages.get(number);
  if (page === undefined) void fetchPage(number);
  return page?.[index - number * PAGE];
}

/** @param {string} key @returns {number} the place of a photo among those that have come; -1 for none */
export function placeOf(key) {
  for (const [number, page] of pages) {
    const found = page?.findIndex((each) => "key" in each && each.key === key) ?? -1;
    if (found >= 0) return number * PAGE + found;
  }
  return -1;
}

/** @param {number} number */
async function fetchPage(number) {
  const asked = round;
  pages.set(number, null);
  try {
    const { stage = "", reason = "" } = get();
    const found = leftOut()
      ? await api.dropped(stage, reason, number * PAGE, PAGE)
      : await api.photos(choosing(), number * PAGE, PAGE);
    if (asked !== round) return;
    count = found.count;
    pages.set(number, found.photos);
    for (const old of pages.keys()) {
      if (pages.size <= KEPT) break;
      if (old !== number) pages.delete(old);
    }
    told();
  } catch (fault) {
    if (asked !== round) return;
    pages.delete(number);
    count = number === 0 ? 0 : count;
    told(fault);
  }
}
