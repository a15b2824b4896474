/** A scale as a slider in a photographer's words, and as a number. */

import { make } from "./dom.js";

const LEAST = 0.5; // of the slider: what is useful; the number takes more
const MOST = 1.2;

/** @type {[string, string]} */
export const RESTORED = ["more detail", "closer to the photo"];
/** @type {[string, string]} */
export const BLURRED = ["more blur", "less blur"];

/** @param {number} scale @param {[string, string]} ends */
function words(scale, [low, high]) {
  if (scale === 1) return `${scale}`;
  return `${scale}, ${scale < 0.9 ? low : high}`;
}

/**
 * @param {{label: string, most: number, change: (scale: number, gesture: string) => void}} how
 *     most: of the number; gesture: the same for all changes of one drag
 */
export function scaleControl({ label, most, change }) {
  let gesture = "";
  const slider = make("input", { type: "range", min: LEAST, max: MOST, step: 0.05, "aria-label": label });
  const number = make("input", { type: "number", min: 0, max: most, step: 0.05, "aria-label": `${label} as a number` });
  const low = make("span", {}, "");
  const high = make("span", {}, "");
  const element = make("div", { class: "scale" }, slider, number, make("div", { class: "ends", "aria-hidden": "true" }, low, high));
  /** @type {[string, string]} */
  let ends = RESTORED;

  slider.addEventListener("input", () => {
    gesture ||= `scale ${label} ${performance.now()}`;
    change(Number(slider.value), gesture);
  });
  slider.addEventListener("change", () => (gesture = ""));
  number.addEventListener("change", () => {
    const scale = Number(number.value);
    if (number.value !== "" && scale >= 0 && scale <= most) change(scale, "");
  });

  return {
    element,
    /** @param {number} scale @param {[string, string]} [named] @param {boolean} [off] */
    show(scale, named = RESTORED, off = false) {
      ends = named;
      [low.textContent, high.textContent] = ends;
      if (Number(slider.value) !== scale) slider.value = String(scale);
      if (document.activeElement !== number || Number(number.value) !== scale) number.value = String(scale);
      slider.setAttribute("aria-valuetext", words(scale, ends));
      slider.disabled = number.disabled = off;
    },
    /** @param {string} text */
    name(text) {
      slider.setAttribute("aria-label", text);
      number.setAttribute("aria-label", `${text} as a number`);
    },
  };
}
