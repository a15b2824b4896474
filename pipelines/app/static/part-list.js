/** The parts that were found in the photo as buttons: what a click on the photo does, for the keyboard too. */

import { fill, make, part } from "./dom.js";
import { cssColour, light } from "./overlay.js";
import { titleOf } from "./segments.js";
import { get, watch } from "./store.js";
import { segmentMap, togglePart } from "./tools.js";

const list = part("part-list", HTMLElement);
/** @type {Map<number, {element: HTMLButtonElement, dot: HTMLElement}>} */
const buttons = new Map();

function draw() {
  const { segments } = get();
  buttons.clear();
  const sorted = [...(segments?.segments ?? [])].sort((a, b) => Number(Boolean(b.name)) - Number(Boolean(a.name)) || b.area - a.area);
  fill(
    list,
    ...sorted.map((segment) => {
      const dot = make("span", { class: "dot", "aria-hidden": "true" });
      const lit = () => light(segmentMap(), segment.id);
      const dark = () => light(segmentMap(), 0);
      const element = make(
        "button",
        {
          type: "button", "aria-pressed": "false", title: `${(segment.area * 100).toFixed(1)}% of the photo`,
          onclick: () => togglePart(segment.id), onpointerenter: lit, onpointerleave: dark, onfocus: lit, onblur: dark,
        },
        dot,
        titleOf(segment),
      );
      buttons.set(segment.id, { element, dot });
      return element;
    }),
  );
  part("parts-count", HTMLElement).textContent = segments ? `(${sorted.length})` : get().looking ? "(looking…)" : "";
  part("parts", HTMLDetailsElement).hidden = !get().photo;
  press();
}

/** Marks the parts that were clicked into a region. */
function press() {
  const { regions } = get().wish;
  for (const [id, { element, dot }] of buttons) {
    const region = regions.find((one) => one.mask?.segments?.includes(id));
    element.setAttribute("aria-pressed", String(Boolean(region)));
    dot.style.background = region ? cssColour(region.colour) : "";
  }
}

export function startPartList() {
  watch(["segments", "looking", "photo"], draw);
  watch(["wish"], press);
}
