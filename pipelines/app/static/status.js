/** The status line: which machine and model work, and how much memory that takes. */

/** @import {Model} from "./types" */
import { api } from "./api.js";
import { part } from "./dom.js";
import { get, set, watch } from "./store.js";

const ASK_AGAIN = 1500; // milliseconds, while the model is being loaded
const ASK_NOW_AND_THEN = 20000;

/** @param {Model} model */
function words(model) {
  const states = { loading: "loading…", ready: "ready", failed: "failed" };
  const gib = (/** @type {number} */ mib) => (mib / 1024).toFixed(1);
  const memory = model.memory_mib ? `${gib(model.memory_mib)}${model.total_memory_mib ? ` of ${gib(model.total_memory_mib)}` : ""} GB` : "";
  const where = model.device.startsWith("cpu") ? "CPU" : "GPU";
  return [`Model: ${model.name} (${states[model.state]})`, `${where}: ${model.device_name}`, memory, model.dtype].filter(Boolean).join(" · ");
}

async function ask() {
  try {
    set({ model: await api.model() });
  } catch {
    set({ connected: false }); // the line says so
  }
  setTimeout(ask, get().model?.state === "ready" ? ASK_NOW_AND_THEN : ASK_AGAIN);
}

export function startStatus() {
  watch(["model", "connected"], () => {
    const { model, connected } = get();
    const line = part("status", HTMLElement);
    if (!connected) line.textContent = "The connection to the program is lost; trying again…";
    else if (model) line.textContent = model.error ? `The model: ${model.error}` : words(model);
    if (!model) return;
    const days = model.lifetime_hours / 24;
    const kept = days >= 2 ? `${Math.round(days)} days` : `${Math.round(model.lifetime_hours)} hours`;
    part("kept", HTMLElement).textContent = `Photos and results lie in ${model.folder} and are removed after ${kept}.`;
  });
  void ask();
}
