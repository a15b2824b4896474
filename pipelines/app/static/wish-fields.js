/** The rest of the photo, and the settings that are asked for now and then. */

/** @import {Options} from "./types" */
import { make, part } from "./dom.js";
import { BLURRED, RESTORED, scaleControl } from "./scale.js";
import { get, set, watch, wishFor } from "./store.js";

/** @param {Partial<Options>} values */
const change = (values) => set({ options: { ...get().options, ...values } });

/** @typedef {{name: string, label: string, min: number, max: number, step: number}} Field */

/** @returns {Field[]} the settings that have a field, within the limits of the model */
function fieldsOf() {
  const limits = get().model?.limits ?? {};
  return [
    { name: "num_inference_steps", label: "Steps", min: 1, max: limits.steps ?? 1000, step: 1 },
    { name: "upscale", label: "Upscale", min: 0.25, max: limits.upscale ?? 8, step: 0.25 },
    { name: "guidance_scale", label: "Guidance", min: 1, max: 50, step: 0.1 },
    { name: "tile", label: "Tiles, px", min: 128, max: 4096, step: 64 },
  ];
}

const CAREFUL = [
  { kind: "faces", label: "Small faces held close to the photo" },
  { kind: "text", label: "Small lettering held close to the photo" },
];

const heldKinds = () => String(get().options.settings.careful ?? "").split(",").filter(Boolean);

/** @param {string} kind @param {boolean} held */
function hold(kind, held) {
  const { careful: _, ...others } = get().options.settings;
  const kinds = CAREFUL.map((each) => each.kind).filter((each) => (each === kind ? held : heldKinds().includes(each)));
  change({ settings: kinds.length ? { ...others, careful: kinds.join(",") } : others });
}

function startRest() {
  const scale = scaleControl({
    label: "Strength of the rest",
    most: 4,
    change: (value, gesture) => wishFor({ others: value }, gesture),
  });
  const choice = (/** @type {Options["rest"]} */ rest, /** @type {string} */ label) => {
    const made = make("button", { type: "button" }, label);
    made.addEventListener("click", () => change({ rest }));
    return made;
  };
  const restored = choice("restored", "Restored too");
  const kept = choice("keep", "Left exactly as it is");
  const bokeh = make("input", { type: "checkbox", id: "bokeh" });
  bokeh.addEventListener("change", () => wishFor({ bokeh: bokeh.checked }));
  const feather = make("input", { type: "number", min: 0, max: 1000, step: 1, id: "rest-feather" });
  feather.addEventListener("change", () => change({ feather: Math.max(0, Number(feather.value) || 0) }));
  const softness = make("label", {}, "Soft edge, px ", feather);
  const blurred = make("label", { class: "check" }, bokeh, "Blurred, as by a wide aperture (bokeh)");
  const careful = CAREFUL.map(({ kind, label }) => {
    const box = make("input", { type: "checkbox", id: `careful-${kind}` });
    box.addEventListener("change", () => hold(kind, box.checked));
    return { kind, box, element: make("label", { class: "check" }, box, label) };
  });
  part("rest", HTMLElement).append(
    make("div", { class: "choice", role: "group", "aria-label": "The rest of the photo" }, restored, kept),
    softness, blurred, scale.element, ...careful.map(({ element }) => element),
  );
  watch(["wish", "options"], () => {
    const { wish, options } = get();
    const keep = options.rest === "keep";
    restored.setAttribute("aria-pressed", String(!keep));
    kept.setAttribute("aria-pressed", String(keep));
    softness.hidden = !keep;
    blurred.hidden = scale.element.hidden = keep;
    if (document.activeElement !== feather) feather.value = String(options.feather);
    bokeh.checked = wish.bokeh;
    scale.show(wish.others, wish.bokeh ? BLURRED : RESTORED);
    for (const { kind, box, element } of careful) {
      element.hidden = keep || wish.bokeh;
      box.checked = heldKinds().includes(kind);
    }
  });
}

function startSettings() {
  const place = part("settings", HTMLElement);
  const seed = make("input", { type: "number", min: 0, step: 1, value: "0", id: "seed" });
  seed.addEventListener("change", () => change({ seed: Math.max(0, Math.floor(Number(seed.value)) || 0) }));
  place.append(make("label", {}, "Seed ", seed));
  /** @type {Map<string, HTMLInputElement>} */
  const inputs = new Map();
  for (const { name, label, min, max, step } of fieldsOf()) {
    const input = make("input", { type: "number", min, max, step, id: `setting-${name}` });
    input.addEventListener("change", () => {
      const settings = { ...get().options.settings };
      if (input.value === "") delete settings[name];
      else settings[name] = Number(input.value);
      change({ settings });
    });
    inputs.set(name, input);
    place.append(make("label", {}, `${label} `, input));
  }
  place.append(make("p", { class: "faint" }, "Empty: as the model has it."));
  watch(["options", "model"], () => {
    const { options, model } = get();
    if (document.activeElement !== seed) seed.value = String(options.seed);
    for (const { name, max } of fieldsOf()) {
      const input = inputs.get(name);
      if (!input) continue;
      input.max = String(max);
      input.placeholder = String(model?.sampling[name] ?? "");
      if (document.activeElement !== input) input.value = String(options.settings[name] ?? "");
    }
  });
}

export function startWishFields() {
  startRest();
  startSettings();
}
