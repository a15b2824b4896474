/** Elements, made without markup: whatever a photo or a caption is called, it only ever becomes text. */

import { icon } from "./icons.js";

/**
 * The element of the page with this id.
 * @template {HTMLElement} T
 * @param {string} id
 * @param {new () => T} kind
 * @returns {T}
 */
export function part(id, kind) {
  const found = document.getElementById(id);
  if (!(found instanceof kind)) throw new Error(`the page has no ${kind.name} #${id}`);
  return found;
}

/**
 * A new element. Properties that start with "on" are listeners, `data` is its data set, others are attributes; null and
 * false leave an attribute out.
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Record<string, unknown>} [properties]
 * @param {...(Node | string | null)} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), /** @type {EventListener} */ (value));
    else if (name === "data") Object.assign(element.dataset, value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== null && value !== false && value !== undefined) element.setAttribute(name, String(value));
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

/**
 * A button with an icon, a label, or both.
 * @param {{label: string, icon?: string, quiet?: boolean, kind?: string, press: (event: Event) => void, describe?: string}} asked
 *     quiet: the label is for screen readers and the hint alone
 * @returns {HTMLButtonElement}
 */
export function button(asked) {
  const made = make("button", {
    type: "button",
    class: asked.kind ?? "",
    title: asked.describe ?? (asked.quiet ? asked.label : null),
    "aria-label": asked.quiet ? asked.label : null,
    onclick: asked.press,
  });
  if (asked.icon) made.append(icon(asked.icon));
  if (!asked.quiet) made.append(make("span", {}, asked.label));
  return made;
}

/**
 * Puts `children` in the place of what `parent` holds.
 * @param {Element} parent
 * @param {...(Node | string)} children
 */
export function fill(parent, ...children) {
  parent.replaceChildren(...children);
}

/** @param {string} message said by screen readers, politely */
export function say(message) {
  part("said", HTMLElement).textContent = message;
}

/** @type {ReturnType<typeof setTimeout> | undefined} */
let leaving;

/**
 * A sentence in the place of the status line; a fault stays until it is closed or settled.
 * @param {string} message
 * @param {"fault" | "word"} [kind]
 */
export function tell(message, kind = "word") {
  const place = part("told", HTMLElement);
  clearTimeout(leaving);
  const close = button({ label: "Close", icon: "close", quiet: true, kind: "plain", press: () => fill(place) });
  fill(place, make("div", { class: `told ${kind}`, role: kind === "fault" ? "alert" : "status" }, make("p", {}, message), close));
  if (kind === "word") leaving = setTimeout(() => fill(place), 5000);
}

/** Takes a fault away: something has succeeded since, or is being put right. */
export function settle() {
  const place = part("told", HTMLElement);
  if (place.querySelector(".fault")) fill(place);
}

/** @param {unknown} error */
export function tellFault(error) {
  tell(error instanceof Error ? error.message : String(error), "fault");
}

/**
 * Asks before something is lost.
 * @param {string} question
 * @param {string} yes what the button says that does it
 * @returns {Promise<boolean>}
 */
export function confirmed(question, yes) {
  const dialog = make("dialog", { class: "ask", "aria-label": question });
  return new Promise((resolve) => {
    const end = (/** @type {boolean} */ answer) => {
      dialog.close();
      dialog.remove();
      resolve(answer);
    };
    const choices = make("div", { class: "row end" });
    choices.append(button({ label: "Cancel", press: () => end(false) }), button({ label: yes, kind: "danger", press: () => end(true) }));
    dialog.append(make("p", {}, question), choices);
    dialog.addEventListener("cancel", () => end(false));
    document.body.append(dialog);
    dialog.showModal();
  });
}
