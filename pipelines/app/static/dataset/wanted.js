/** What is looked for. The page's address holds it, so that it can be kept, sent and gone back to. */

/** @import {Wanted} from "./types" */

/** Of the address, those that choose and order photos; `dropped` and `stage` show what was left out instead. */
const CHOOSING = [
  "subject", "caption", "area_from", "area_to", "bokeh", "agreement_from", "agreement_to", "said", "quality_from",
  "quality_to", "source", "licence", "key", "order",
];
const OTHERS = ["left_out", "stage", "reason", "photo", "regions", "judge"];

/** @type {Wanted} */
let wanted = {};
/** @type {((changed: Set<string>) => void)[]} */
const watchers = [];

export const get = () => wanted;

/** What chooses photos. @returns {Wanted} */
export const choosing = () => Object.fromEntries(Object.entries(wanted).filter(([name]) => CHOOSING.includes(name)));

/** Whether what is shown are photos that were left out. */
export const leftOut = () => wanted.left_out === "1";

/** @param {Iterable<string>} names @returns {boolean} whether other photos are looked for where these have changed */
export const chooses = (names) => [...names].some((name) => CHOOSING.includes(name) || ["left_out", "stage", "reason"].includes(name));

/**
 * Takes over values, "" for any, and writes the address.
 * @param {Wanted} values
 * @param {{step?: boolean}} [how] step: the browser's back button comes back to what was before
 */
export function change(values, how = {}) {
  const before = location.search;
  const query = new URLSearchParams(Object.entries({ ...wanted, ...values }).filter(([, value]) => value !== ""));
  const address = `?${query}`;
  if (address === before || (address === "?" && !before)) return;
  history[how.step ? "pushState" : "replaceState"](null, "", address === "?" ? location.pathname : address);
  take();
}

/** Nothing is looked for in particular. */
export function clear() {
  change(Object.fromEntries(Object.keys(wanted).filter((name) => name !== "regions").map((name) => [name, ""])), { step: true });
}

/** @param {(changed: Set<string>) => void} draw is told the names that have other values */
export function watch(draw) {
  watchers.push(draw);
}

function take() {
  const known = [...CHOOSING, ...OTHERS];
  const now = Object.fromEntries([...new URLSearchParams(location.search)].filter(([name, value]) => known.includes(name) && value));
  const changed = new Set([...Object.keys(now), ...Object.keys(wanted)].filter((name) => now[name] !== wanted[name]));
  wanted = now;
  if (changed.size) for (const draw of watchers) draw(changed);
}

export function startWanted() {
  window.addEventListener("popstate", take);
  take();
}
