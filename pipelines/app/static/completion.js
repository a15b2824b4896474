/** Completion of captions under a text field: what was found in the photo, then every name that the annotator knows. */

import { fill, make } from "./dom.js";
import { get } from "./store.js";

const MOST = 40;
let lists = 0;

/** @typedef {{start: number, query: string, verb: boolean}} Begun where a caption begins, and what of it is there */

/** @param {string} query @returns {{name: string, found: boolean}[]} */
function matching(query) {
  const { segments } = get();
  if (!segments) return [];
  const bare = (/** @type {string} */ name) => name.toLowerCase().replace(/^(the|a|an) /, "");
  const wanted = bare(query.trim().toLowerCase()).replace(/^(the|a|an)$/, "");
  const found = segments.names.filter((name) => bare(name).startsWith(wanted) || name.toLowerCase().startsWith(query.trim().toLowerCase()));
  const known = new Set(segments.names.map(bare));
  const others = wanted
    ? segments.vocabulary.filter((name) => !known.has(bare(name)) && bare(name).split(" ").some((word) => word.startsWith(wanted)))
    : [];
  return [
    ...found.map((name) => ({ name, found: true })),
    ...others.slice(0, MOST).map((name) => ({ name: `the ${name}`, found: false })),
  ].filter(({ name }) => name.toLowerCase() !== query.trim().toLowerCase());
}

/**
 * A list of names under the field; arrows choose, Enter and Tab take, Escape closes.
 * @param {HTMLInputElement | HTMLTextAreaElement} field
 * @param {{
 *   begun: (text: string, caret: number) => Begun | null,
 *   written: (caption: string, begun: Begun, after: string) => string,
 *   taken?: () => void,
 * }} how
 */
export function complete(field, how) {
  const list = make("ul", { class: "completions", role: "listbox", id: `completions-${++lists}`, "aria-label": "Names", hidden: true });
  field.after(list);
  field.setAttribute("aria-autocomplete", "list");
  field.setAttribute("aria-controls", list.id);
  const combobox = field instanceof HTMLInputElement;
  if (combobox) field.setAttribute("role", "combobox");
  let chosen = -1;
  /** @type {string[]} */
  let names = [];

  const close = () => {
    list.hidden = true;
    names = [];
    choose(-1);
    if (combobox) field.setAttribute("aria-expanded", "false");
  };

  const choose = (/** @type {number} */ next) => {
    list.children[chosen]?.setAttribute("aria-selected", "false");
    chosen = next;
    const option = list.children[chosen];
    option?.setAttribute("aria-selected", "true");
    option?.scrollIntoView({ block: "nearest" });
    if (option) field.setAttribute("aria-activedescendant", option.id);
    else field.removeAttribute("aria-activedescendant");
  };

  const open = () => {
    const caret = field.selectionStart ?? field.value.length;
    const begun = field.selectionStart === field.selectionEnd ? how.begun(field.value, caret) : null;
    const found = begun ? matching(begun.query) : [];
    if (!begun || found.length === 0) return close();
    names = found.map(({ name }) => name);
    fill(
      list,
      ...found.map(({ name, found: here }, place) =>
        make(
          "li",
          { role: "option", id: `${list.id}-${place}`, "aria-selected": "false", onpointerdown: (/** @type {Event} */ event) => take(event, place) },
          make("span", {}, name),
          here ? make("span", { class: "faint" }, "in the photo") : null,
        ),
      ),
    );
    list.hidden = false;
    choose(-1);
    if (combobox) field.setAttribute("aria-expanded", "true");
  };

  const take = (/** @type {Event} */ event, /** @type {number} */ place) => {
    event.preventDefault();
    const caret = field.selectionStart ?? field.value.length;
    const begun = how.begun(field.value, caret);
    const name = names[place];
    if (!begun || !name) return;
    const after = field.value.slice(caret);
    const written = how.written(name, begun, after);
    field.value = field.value.slice(0, begun.start) + written + after;
    const end = begun.start + written.length;
    field.setSelectionRange(end, end);
    close();
    field.dispatchEvent(new Event("input", { bubbles: true }));
    close();
    how.taken?.();
  };

  if (combobox) field.setAttribute("aria-expanded", "false");
  field.addEventListener("input", open);
  field.addEventListener("focus", () => !field.value && open());
  field.addEventListener("click", () => !field.value && open());
  field.addEventListener("blur", close);
  field.addEventListener("keydown", (/** @type {Event} */ event) => {
    const { key, altKey } = /** @type {KeyboardEvent} */ (event);
    if (list.hidden) {
      if (key === "ArrowDown" && (altKey || combobox)) {
        open();
        event.preventDefault();
      }
      return;
    }
    if (key === "ArrowDown" || key === "ArrowUp") {
      const count = names.length;
      choose(key === "ArrowDown" ? (chosen + 1) % count : chosen <= 0 ? count - 1 : chosen - 1);
      event.preventDefault();
    } else if ((key === "Enter" || key === "Tab") && chosen >= 0) {
      take(event, chosen);
      event.stopPropagation();
    } else if (key === "Escape") {
      close();
      event.stopPropagation();
    }
  });
}
