/** The fields that choose photos, and the subjects with their counts. */

/** @import {Card, Facet} from "./types" */
import { button, fill, make, part, tellFault } from "../dom.js";
import { api } from "./api.js";
import { counted, shown } from "./text.js";
import { change, clear, get, leftOut } from "./wanted.js";

const WAIT = 250; // milliseconds after the last key
const SHARES = ["area_from", "area_to"]; // percent in the field, a share in the address
/** @type {Record<string, ReturnType<typeof setTimeout>>} */
const waiting = {};

const form = () => part("filters", HTMLFormElement);

/** @returns {(HTMLInputElement | HTMLSelectElement)[]} */
const fields = () => [...form().querySelectorAll("[name]")].filter(
  (each) => each instanceof HTMLInputElement || each instanceof HTMLSelectElement);

/** @param {HTMLInputElement | HTMLSelectElement} field */
function take(field) {
  if (field instanceof HTMLInputElement && !field.checkValidity()) return;
  const { name, value } = field;
  if (name === "show") {
    const [stage = "", reason = ""] = value === "kept" || value === "out" ? [] : JSON.parse(value);
    change({ left_out: value === "kept" ? "" : "1", stage, reason, photo: "" }, { step: true });
    return;
  }
  const number = SHARES.includes(name) && value !== "" ? String(Number(value) / 100) : value;
  change({ [name]: number.trim(), photo: "" });
}

/** Writes what the address says into the fields. */
export function drawFilters() {
  const wanted = get();
  for (const field of fields()) {
    if (field === document.activeElement && field instanceof HTMLInputElement) continue;
    if (field.name === "show") {
      field.value = leftOut() ? (wanted.stage || wanted.reason ? JSON.stringify([wanted.stage ?? "", wanted.reason ?? ""]) : "out") : "kept";
    } else {
      const value = wanted[field.name] ?? (field.name === "order" ? "stored" : "");
      field.value = SHARES.includes(field.name) && value ? String(Number((100 * Number(value)).toFixed(4))) : value;
    }
  }
  part("of-kept", HTMLFieldSetElement).disabled = leftOut();
  for (const each of part("subjects", HTMLElement).querySelectorAll("button")) {
    each.setAttribute("aria-pressed", String(each.dataset.subject === wanted.subject));
  }
}

/** @param {string} id @param {Facet[]} facets @param {string} any */
function choices(id, facets, any) {
  const field = part(id, HTMLSelectElement);
  fill(field, make("option", { value: "" }, any), ...facets.map(({ value, count }) =>
    make("option", { value }, `${shown(value, 80) || "not stated"} (${count.toLocaleString("en")})`)));
  field.disabled = !facets.length;
}

/** @param {Card} card */
export function drawChoices(card) {
  // An empty value is any: what is not stated cannot be asked for by itself.
  choices("source", card.sources.filter((each) => each.value), "any");
  choices("licence", card.licences.filter((each) => each.value), "any");
  choices("said-by", card.said, card.records === null ? "anybody" : "known once all records are read");
  const reasons = card.reasons.map(({ stage, reason, count }) =>
    make("option", { value: JSON.stringify([stage, reason]) }, `${shown(stage, 40)}: ${shown(reason, 80)} (${count.toLocaleString("en")})`));
  const all = card.reasons.reduce((sum, each) => sum + each.count, 0);
  const show = part("show", HTMLSelectElement);
  fill(show, make("option", { value: "kept" }, `Kept (${card.photos.toLocaleString("en")})`));
  if (all) show.append(make("option", { value: "out" }, `Left out (${all.toLocaleString("en")})`), make("optgroup", { label: "Left out by" }, ...reasons));
  drawFilters();
}

export async function drawSubjects() {
  const wanted = part("subject-part", HTMLInputElement).value.trim();
  try {
    const { count, subjects } = await api.subjects(wanted);
    if (wanted !== part("subject-part", HTMLInputElement).value.trim()) return;
    fill(part("subjects", HTMLElement), ...subjects.map((each) => {
      const chosen = button({
        label: shown(each.subject, 80), kind: "subject", describe: `${counted(each.regions, "region")} in ${counted(each.photos, "photo")}`,
        press: () => change({ subject: get().subject === each.subject ? "" : each.subject, photo: "", left_out: "", stage: "", reason: "" }, { step: true }),
      });
      chosen.dataset.subject = each.subject;
      chosen.append(make("span", { class: "faint" }, each.photos.toLocaleString("en")));
      return make("li", {}, chosen);
    }));
    part("subject-count", HTMLElement).textContent =
      count > subjects.length ? `${counted(count, "subject")}, the ${subjects.length} commonest` : counted(count, "subject");
    drawFilters();
  } catch (fault) {
    tellFault(fault);
  }
}

export function startFilters() {
  form().addEventListener("submit", (event) => event.preventDefault());
  for (const field of fields()) {
    field.addEventListener("input", () => {
      clearTimeout(waiting[field.name]);
      if (field instanceof HTMLSelectElement) take(field);
      else waiting[field.name] = setTimeout(take, WAIT, field);
    });
  }
  part("clear", HTMLButtonElement).addEventListener("click", clear);
  part("subject-part", HTMLInputElement).addEventListener("input", () => {
    clearTimeout(waiting["subject-part"]);
    waiting["subject-part"] = setTimeout(drawSubjects, WAIT);
  });
}
