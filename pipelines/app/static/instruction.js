/** The instruction as text: it and the regions follow each other, and what is not understood is marked at its place. */

/** @import {Parsed, Region, TextFault} from "./types" */
import { api, Refusal } from "./api.js";
import { complete } from "./completion.js";
import { fill, make, part } from "./dom.js";
import { cssColour } from "./overlay.js";
import { freeColour, freshId } from "./regions.js";
import { get, set, watch, wishFor } from "./store.js";

const field = part("instruction", HTMLTextAreaElement);
const mirror = part("mirror", HTMLElement);
const faultLine = part("instruction-fault", HTMLElement);

const READ_AFTER = 500; // milliseconds without a key
const WRITE_AFTER = 60;
/** @type {ReturnType<typeof setTimeout> | undefined} */
let reading;
/** @type {Promise<void> | undefined} */
let beingRead;
/** @type {ReturnType<typeof setTimeout> | undefined} */
let writing;
let asked = 0; // the latest question; answers to earlier ones are dropped
let followed = ""; // the wish that the text says, so that neither answers the other's echo

/** @param {{regions: readonly {caption: string, scale: number}[], others: number, bokeh: boolean}} wish */
const said = ({ regions, others, bokeh }) =>
  JSON.stringify([regions.map(({ caption, scale }) => [caption, scale]), others, bokeh]);

/** The wish as the API takes it. */
export function wishAsked() {
  const { regions, others, bokeh } = get().wish;
  return { regions: regions.map(({ caption, scale }) => ({ caption, scale })), others, bokeh };
}

/** @param {unknown} error @param {string} words @returns {TextFault} */
function faultOf(error, words) {
  if (!(error instanceof Refusal)) throw error;
  if (error.start < 0) return { message: error.message, start: 0, end: 0 };
  const start = Math.min(error.start, words.length);
  const word = /^\S*/.exec(words.slice(start))?.[0].length ?? 0; // one letter is hardly seen
  return { message: error.message, start, end: Math.min(Math.max(error.end, start + word), words.length) };
}

function stopReading() {
  clearTimeout(reading);
  reading = undefined;
}

function readNow() {
  stopReading();
  beingRead = read();
}

/** What was typed is understood, or has its fault: a job that is asked for at once waits for that. */
export async function textRead() {
  if (reading !== undefined) readNow();
  await beingRead;
}

async function read() {
  const words = field.value;
  const question = ++asked;
  if (!words.trim()) {
    followed = said({ ...get().wish, regions: [] });
    set({ text: words, fault: null });
    if (get().wish.regions.length) wishFor({ regions: [], active: null }, "text");
    return;
  }
  try {
    const parsed = await api.parse(words);
    if (question !== asked) return;
    followed = said(parsed);
    set({ text: words, fault: null });
    follow(parsed);
  } catch (error) {
    if (question === asked) set({ text: words, fault: faultOf(error, words) });
  }
}

/** Makes the regions those of the text; masks and colours stay with their captions, or else with their places. @param {Parsed} parsed */
function follow(parsed) {
  const { wish } = get();
  if (said(wish) === said(parsed)) return;
  const free = [...wish.regions];
  const take = (/** @type {(region: Region) => boolean} */ fits) => {
    const at = free.findIndex(fits);
    return at < 0 ? undefined : free.splice(at, 1)[0];
  };
  const matched = parsed.regions.map(({ caption }) => take((region) => region.caption.toLowerCase() === caption.toLowerCase()));
  /** @type {Region[]} */
  const regions = [];
  parsed.regions.forEach(({ caption, scale }, place) => {
    const former = matched[place] ?? take((region) => wish.regions.indexOf(region) === place);
    const renamed = former && former.caption !== caption;
    regions.push({
      id: former?.id ?? freshId(),
      caption,
      own: former && !renamed ? former.own : true,
      scale,
      colour: former?.colour ?? freeColour([...wish.regions, ...regions]),
      mask: former?.mask ?? null,
    });
  });
  const active = regions.some((region) => region.id === wish.active) ? wish.active : (regions.at(-1)?.id ?? null);
  wishFor({ regions, others: parsed.others, bokeh: parsed.bokeh, active }, "text");
}

async function write() {
  const question = ++asked;
  const wish = wishAsked();
  followed = said(wish);
  if (wish.regions.length === 0) {
    show("");
    set({ text: "", fault: null });
    return;
  }
  try {
    const { text } = await api.write(wish);
    if (question !== asked) return;
    show(text);
    set({ text, fault: null });
  } catch (error) {
    if (question === asked) set({ fault: faultOf(error, field.value) });
  }
}

/** Takes an instruction that was offered, in the place of what was typed. @param {Parsed} parsed */
export function accept(parsed) {
  stopReading();
  asked++;
  followed = said(parsed);
  show(parsed.text);
  set({ text: parsed.text, fault: null });
  follow(parsed);
}

/** @param {string} words */
function show(words) {
  if (field.value !== words) field.value = words;
}

/** The mirror under the field: text of the same shape, in which captions have their colour and a fault its line. */
function draw() {
  const words = field.value;
  const { fault, wish } = get();
  /** @type {{start: number, end: number, node: (text: string) => Node}[]} */
  const marks = [];
  if (fault && fault.end > fault.start) {
    marks.push({ start: fault.start, end: fault.end, node: (text) => make("mark", {}, text) });
  } else if (!fault) {
    for (const region of wish.regions) {
      const start = words.toLowerCase().indexOf(region.caption.toLowerCase());
      if (start < 0) continue;
      const node = (/** @type {string} */ text) => {
        const span = make("span", { class: "named" }, text);
        span.style.boxShadow = `inset 0 -0.19em ${cssColour(region.colour)}`;
        return span;
      };
      marks.push({ start, end: start + region.caption.length, node });
    }
  }
  let at = 0;
  /** @type {(Node | string)[]} */
  const nodes = [];
  for (const { start, end, node } of marks.sort((a, b) => a.start - b.start)) {
    if (start < at) continue;
    nodes.push(words.slice(at, start), node(words.slice(start, end)));
    at = end;
  }
  fill(mirror, ...nodes, words.slice(at), "\n");
  faultLine.textContent = fault ? `${fault.message[0].toUpperCase()}${fault.message.slice(1)}` : "";
  // Whoever still writes at the end has made no mistake yet.
  const unfinished = fault !== null && fault.start >= words.trimEnd().length && document.activeElement === field;
  faultLine.className = unfinished ? "faint" : "fault";
  field.setAttribute("aria-invalid", String(fault !== null && !unfinished));
  field.style.height = "auto";
  field.style.height = `${field.scrollHeight + 2}px`;
}

/** What of a text before the caret is the beginning of a caption. @param {string} before */
function captionBegun(before) {
  const clause = before.split(/[,;.]\s*|\band\s+(?=make\b|sharpen\b|restore\b|keep\b)/i).at(-1) ?? "";
  const start = before.length - clause.length;
  if (/\b(clear|with|as it is|bokeh)\b/i.test(clause)) return null;
  const verb = /^\s*(please\s+)?(make|sharpen|restore|keep|leave)\s+/i.exec(clause)?.[0] ?? /^\s*/.exec(clause)?.[0] ?? "";
  return { start: start + verb.length, query: clause.slice(verb.length), verb: verb.trim() !== "" };
}

export function startInstruction() {
  field.addEventListener("input", () => {
    clearTimeout(writing);
    stopReading();
    asked++;
    draw();
    reading = setTimeout(readNow, READ_AFTER);
  });
  field.addEventListener("blur", () => {
    draw();
    if (reading !== undefined) readNow();
    else if (!get().fault && get().wish.regions.length && get().text === field.value) void write();
  });
  faultLine.addEventListener("click", () => {
    const { fault } = get();
    if (!fault) return;
    field.focus();
    field.setSelectionRange(fault.start, fault.end);
  });
  complete(field, {
    begun: (text, caret) => captionBegun(text.slice(0, caret)),
    written: (caption, begun, after) => {
      const opened = begun.verb ? caption : `make ${caption}`;
      return after.trim() ? opened : `${opened} clear with 0.7`;
    },
  });
  watch(["wish"], () => {
    if (said(wishAsked()) === followed) return;
    clearTimeout(writing);
    stopReading();
    writing = setTimeout(write, WRITE_AFTER);
  });
  watch(["text", "fault", "wish"], draw);
  new ResizeObserver(draw).observe(mirror);
}
