/** Regions: how they are made, named and changed. Nothing is drawn here. */

/** @import {Mask, Region} from "./types" */
import { settle, tell } from "./dom.js";
import { COLOURS } from "./overlay.js";
import { activeRegion, get, wishFor } from "./store.js";

let made = 0;

/** A number that no region has had. */
export const freshId = () => ++made;

/** The first colour that no region has. @param {readonly Region[]} regions */
export function freeColour(regions) {
  const used = new Set(regions.map((region) => region.colour));
  for (let colour = 0; colour < COLOURS.length; colour++) if (!used.has(colour)) return colour;
  return regions.length % COLOURS.length;
}

/**
 * The caption, or where another region has it "the second ...": an instruction names each of its regions differently.
 * @param {string} caption
 * @param {readonly Region[]} others
 */
function distinct(caption, others) {
  const taken = new Set(others.map((region) => region.caption.toLowerCase()));
  if (!taken.has(caption.toLowerCase())) return caption;
  const ordinals = ["second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth"];
  const bare = caption.replace(/^the /, "");
  for (const ordinal of ordinals) {
    if (!taken.has(`the ${ordinal} ${bare}`)) return `the ${ordinal} ${bare}`;
  }
  for (let number = 11; ; number++) if (!taken.has(`the ${bare} ${number}`)) return `the ${bare} ${number}`;
}

/**
 * A new region, which becomes the active one.
 * @param {{caption?: string, own?: boolean, scale?: number, mask?: Mask | null}} values
 * @param {string} [gesture] see `wishFor`
 * @returns {Region | null} null where there is no more room
 */
export function addRegion(values, gesture = "") {
  const { wish, model } = get();
  const most = model?.limits.regions ?? 16;
  if (wish.regions.length >= most) {
    tell(`The model takes ${most} regions at once; delete one first.`);
    return null;
  }
  /** @type {Region} */
  const region = {
    id: freshId(),
    caption: distinct(values.caption ?? "the marked part", wish.regions),
    own: values.own ?? false,
    scale: values.scale ?? 0.7,
    colour: freeColour(wish.regions),
    mask: values.mask ?? null,
  };
  settle();
  wishFor({ regions: [...wish.regions, region], active: region.id }, gesture);
  return region;
}

/**
 * @param {number} id
 * @param {Partial<Omit<Region, "id">>} values
 * @param {string} [gesture] see `wishFor`
 */
export function changeRegion(id, values, gesture = "") {
  const { wish } = get();
  settle();
  wishFor({ regions: wish.regions.map((region) => (region.id === id ? { ...region, ...values } : region)) }, gesture);
}

/** @param {number} id */
export function removeRegion(id) {
  const regions = get().wish.regions.filter((region) => region.id !== id);
  const { active } = get().wish;
  wishFor({ regions, active: active === id ? (regions.at(-1)?.id ?? null) : active });
}

/** Names a region after what was clicked into it, unless its name was typed. @param {number} id @param {string} gesture */
export function nameAfterSegments(id, gesture) {
  const { wish, segments } = get();
  const region = wish.regions.find((one) => one.id === id);
  if (!region || region.own || !segments) return;
  const inside = new Set(region.mask?.segments ?? []);
  const largest = segments.segments.filter((one) => inside.has(one.id) && one.name).sort((a, b) => Number(b.sure) - Number(a.sure) || b.area - a.area)[0];
  const others = wish.regions.filter((one) => one.id !== id);
  const caption = distinct(largest ? `the ${largest.name.replace(/^the /, "")}` : "the marked part", others);
  if (caption !== region.caption) changeRegion(id, { caption }, gesture);
}

/** Changes the active region's mask. @param {(mask: Mask) => Mask | null} change */
export function changeMask(change) {
  const region = activeRegion();
  if (!region?.mask) {
    tell("Choose a region with a mask first.");
    return;
  }
  changeRegion(region.id, { mask: change(region.mask) });
}
