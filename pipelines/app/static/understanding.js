/** Wishes in any words: what the grammar refuses may be read by a language model, where the app was started with one. */

/** @import {WishRead} from "./types" */
import { api, Refusal } from "./api.js";
import { button, fill, make, part } from "./dom.js";
import { accept, wishAsked } from "./instruction.js";
import { get, watch } from "./store.js";

const field = part("instruction", HTMLTextAreaElement);
const line = part("reading", HTMLElement);

/**
 * What was accepted last, for the record of the results: as long as the wish is still that.
 * @type {{typed: string, model: string, instruction: string} | null}
 */
let accepted = null;
let about = ""; // the text that the line is about
let asked = 0; // the latest question; answers to earlier ones are dropped

const written = () => JSON.stringify(wishAsked());

/** What the instruction was read from, as the API takes it; nothing where it was not, or was changed since. */
export function readFrom() {
  if (!accepted || accepted.instruction !== written()) return {};
  return { read_from: { typed: accepted.typed, model: accepted.model } };
}

/** @param {string} label */
const asker = (label) => button({ label, describe: "Sends this wish, and no photo, to the language model", press: () => void ask() });

async function ask() {
  const typed = field.value;
  const question = ++asked;
  fill(line, make("span", {}, "Asking the language model…"));
  try {
    const read = await api.readWish(typed);
    if (question === asked && field.value === typed) offer(typed, read);
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    const sentence = `${error.message[0].toUpperCase()}${error.message.slice(1)} `;
    if (question === asked) fill(line, make("span", { class: "fault" }, sentence), asker("Ask again"));
  }
}

/** @param {string} typed @param {WishRead} read */
function offer(typed, read) {
  const press = () => {
    accept(read);
    accepted = read.model ? { typed, model: read.model, instruction: written() } : null;
  };
  fill(line, make("span", {}, "Understood as: ", make("q", {}, read.text), " "), button({ label: "Use this", kind: "accent", press }));
}

export function startUnderstanding() {
  watch(["text", "fault", "model"], () => {
    const words = get().model?.language_model && get().fault ? field.value.trim() : "";
    line.hidden = !words;
    if (words === about) return; // asked, or offered, already
    about = words;
    asked++;
    if (words) fill(line, asker("Ask the language model"));
  });
}
