/** The regions as cards: colour, name, where it is, scale. A card lives as long as its region, so that it keeps the focus. */

/** @import {Region} from "./types" */
import { complete } from "./completion.js";
import { button, make, part, say } from "./dom.js";
import { notesOn } from "./masks.js";
import { cssColour } from "./overlay.js";
import { addRegion, changeRegion, removeRegion } from "./regions.js";
import { scaleControl } from "./scale.js";
import { activate, get, set, watch } from "./store.js";

const list = part("regions", HTMLOListElement);

/** @typedef {{element: HTMLLIElement, show: (region: Region, active: boolean) => void, name: HTMLInputElement}} Card */
/** @type {Map<number, Card>} */
const cards = new Map();

/** @param {Region} region */
function whereItIs(region) {
  if (!region.mask) return "Found by the model";
  let inside = 0;
  for (const value of region.mask.data) inside += value;
  const share = inside / 255 / region.mask.data.length;
  if (inside === 0) return "Nothing marked";
  return `Marked: ${share < 0.001 ? "under 0.1" : (100 * share).toFixed(share < 0.1 ? 1 : 0)}% of the photo`;
}

/** @param {number} id @returns {Card} */
function cardOf(id) {
  const dot = make("span", { class: "dot", "aria-hidden": "true" });
  const name = make("input", { type: "text", "aria-label": "What the region shows", spellcheck: "false", autocomplete: "off", maxlength: 500 });
  const remove = button({ label: "Delete the region", icon: "trash", quiet: true, kind: "plain", press: () => removeRegion(id) });
  const where = make("span", { class: "share" });
  const notes = make("p", { class: "faint notes" });
  const unmark = button({ label: "Let the model find it", press: () => changeRegion(id, { mask: null }) });
  const scale = scaleControl({
    label: "Strength",
    most: get().model?.limits.scale ?? 4,
    change: (value, gesture) => changeRegion(id, { scale: value }, gesture),
  });
  const first = make("div", { class: "first" }, dot, name, remove);
  const element = make("li", { class: "region" }, first, make("div", { class: "where" }, where, unmark), notes, scale.element);
  element.addEventListener("focusin", () => activate(id));
  element.addEventListener("pointerdown", () => activate(id));

  const rename = () => {
    const caption = name.value.trim();
    const region = get().wish.regions.find((one) => one.id === id);
    if (region && caption && caption !== region.caption) changeRegion(id, { caption, own: true }, `name ${id}`);
  };
  name.addEventListener("input", rename);
  complete(name, { begun: (text) => ({ start: 0, query: text, verb: true }), written: (caption) => caption, taken: rename });
  name.addEventListener("focus", () => name.select());
  name.addEventListener("blur", () => {
    const region = get().wish.regions.find((one) => one.id === id);
    if (region) name.value = region.caption;
  });

  /** @type {Region["mask"] | undefined} */
  let measured;
  return {
    element,
    name,
    show(region, active) {
      element.classList.toggle("active", active);
      element.style.borderLeftColor = dot.style.background = cssColour(region.colour);
      if (document.activeElement !== name) name.value = region.caption;
      if (measured !== region.mask) {
        where.textContent = whereItIs(region);
        notes.textContent = notesOn(region.mask).map((note) => `${note[0].toUpperCase()}${note.slice(1)}.`).join(" ");
        notes.hidden = notes.textContent === "";
      }
      measured = region.mask;
      unmark.hidden = !region.mask;
      scale.name(`Strength of ${region.caption}`);
      scale.show(region.scale);
      if (active) element.setAttribute("aria-current", "true");
      else element.removeAttribute("aria-current");
    },
  };
}

function draw() {
  const { regions, active } = get().wish;
  const ids = new Set(regions.map((region) => region.id));
  for (const [id, card] of cards) {
    if (ids.has(id)) continue;
    card.element.remove();
    cards.delete(id);
  }
  regions.forEach((region, place) => {
    const card = cards.get(region.id) ?? cardOf(region.id);
    cards.set(region.id, card);
    if (list.children[place] !== card.element) list.insertBefore(card.element, list.children[place] ?? null);
    card.show(region, region.id === active);
  });
  part("no-regions", HTMLElement).hidden = regions.length > 0;
  if (lastActive !== active && active !== null) cards.get(active)?.element.scrollIntoView({ block: "nearest" });
  lastActive = active;
}

/** @type {number | null} */
let lastActive = null;

/** A new region to mark, or to name. */
export function newRegion() {
  const region = addRegion({});
  if (!region) return;
  set({ mode: "mark" });
  say("A new region: click in the photo, brush, or name it");
  queueMicrotask(() => queueMicrotask(() => cards.get(region.id)?.name.focus()));
}

export function startRegionList() {
  part("add-region", HTMLButtonElement).addEventListener("click", newRegion);
  watch(["wish", "model"], draw);
}
