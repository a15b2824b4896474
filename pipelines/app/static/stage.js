/** The photo on the screen: its layers, and what pointers, the wheel and the keyboard do to them. */

/** @import {Point, Stroke} from "./types" */
import { part } from "./dom.js";
import { overlaySize } from "./masks.js";
import { get, watch } from "./store.js";
import * as tools from "./tools.js";
import { View } from "./view.js";

const stage = part("stage", HTMLElement);
const panes = part("panes", HTMLElement);
const paneOne = part("pane-one", HTMLElement);
const paneTwo = part("pane-two", HTMLElement);
const ring = part("brush-ring", HTMLElement);
const cross = part("cross-hair", HTMLElement);
const zoomShown = part("zoom", HTMLOutputElement);

export const view = new View([part("world-one", HTMLElement), part("world-two", HTMLElement)], () => ({
  width: paneOne.clientWidth,
  height: paneOne.clientHeight,
}));

/** Pointers that are down, by their id: where they were last. @type {Map<number, Point>} */
const down = new Map();
/** @type {"tool" | "pan" | "pinch" | null} */
let gesture = null;
let spaceHeld = false;
/** The cross hair of the keyboard, in pixels of the photo. @type {Point | null} */
let keyed = null;

/** @param {{clientX: number, clientY: number}} event @returns {Point} in the pane that it lies in */
function inPane(event) {
  const second = !paneTwo.hidden && event.clientX >= paneTwo.getBoundingClientRect().left;
  const box = (second ? paneTwo : paneOne).getBoundingClientRect();
  return { x: event.clientX - box.left, y: event.clientY - box.top };
}

/** @param {Point} place in the pane @param {{shiftKey: boolean, altKey: boolean}} event @returns {Stroke} */
function strokeAt(place, event) {
  return { at: overlayPlace(view.toPhoto(place)), shift: event.shiftKey, alt: event.altKey };
}

/** A place of the photo in the pixels of masks. @param {Point} place @returns {Point} */
function overlayPlace(place) {
  const { photo } = get();
  if (!photo) return place;
  const size = overlaySize(photo);
  return { x: (place.x * size.width) / photo.width, y: (place.y * size.height) / photo.height };
}

/** @param {PointerEvent} event */
const movesPhoto = (event) => event.button === 1 || spaceHeld || get().mode !== "mark" || get().tool === "hand";

/** @param {PointerEvent} event */
function press(event) {
  if (!get().photo || event.button > 1) return;
  panes.setPointerCapture(event.pointerId);
  down.set(event.pointerId, inPane(event));
  keyed = null;
  if (down.size === 2) {
    if (gesture === "tool") tools.abandon();
    gesture = "pinch";
  } else if (down.size === 1) {
    gesture = movesPhoto(event) ? "pan" : "tool";
    if (gesture === "tool") tools.start(strokeAt(inPane(event), event));
  }
  panes.classList.toggle("held", gesture === "pan");
  drawPointer(event);
}

/** @param {PointerEvent} event */
function move(event) {
  if (!get().photo) return;
  const before = down.get(event.pointerId);
  const now = inPane(event);
  if (!before) {
    if (get().mode === "mark" && event.pointerType !== "touch") tools.hover(strokeAt(now, event));
  } else if (gesture === "pan") {
    view.pan(now.x - before.x, now.y - before.y);
  } else if (gesture === "pinch" && down.size === 2) {
    const [other] = [...down].filter(([id]) => id !== event.pointerId).map(([, place]) => place);
    const middle = (/** @type {Point} */ place) => ({ x: (place.x + other.x) / 2, y: (place.y + other.y) / 2 });
    const apart = (/** @type {Point} */ place) => Math.hypot(place.x - other.x, place.y - other.y) || 1;
    view.pan(middle(now).x - middle(before).x, middle(now).y - middle(before).y);
    view.zoomTo((view.zoom * apart(now)) / apart(before), middle(now));
  } else if (gesture === "tool") {
    for (const one of coalesced(event)) tools.move(strokeAt(inPane(one), event));
  }
  if (before) down.set(event.pointerId, now);
  drawPointer(event);
}

/** All places since the last event: a quick stroke stays round. @param {PointerEvent} event @returns {PointerEvent[]} */
function coalesced(event) {
  const all = event.getCoalescedEvents?.() ?? [];
  return all.length ? all : [event];
}

/** @param {PointerEvent} event */
function release(event) {
  if (!down.delete(event.pointerId)) return;
  if (gesture === "tool") {
    if (event.type === "pointercancel") tools.abandon();
    else tools.end(strokeAt(inPane(event), event));
  }
  if (down.size === 0) gesture = null;
  else if (gesture === "pinch") gesture = "pan";
  panes.classList.toggle("held", gesture === "pan");
}

/** @param {PointerEvent} event */
function drawPointer(event) {
  const { mode, tool, brush, photo } = get();
  const brushes = mode === "mark" && (tool === "brush" || tool === "erase") && photo !== null && gesture !== "pinch";
  ring.hidden = !brushes || (event.pointerType === "touch" && down.size === 0);
  if (ring.hidden) return;
  placeRing(inPane(event), brush.size * view.scale);
}

/** @param {Point} place @param {number} across */
function placeRing(place, across) {
  const size = Math.max(4, across);
  ring.style.width = ring.style.height = `${size}px`;
  ring.style.transform = `translate(${place.x - size / 2}px, ${place.y - size / 2}px)`;
}

/** @param {WheelEvent} event */
function wheel(event) {
  if (!get().photo) return;
  event.preventDefault();
  const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 16 : 1;
  if (event.shiftKey) view.pan(-(event.deltaX || event.deltaY) * lines, 0);
  else view.zoomTo(view.zoom * Math.exp((-event.deltaY * lines) / (event.ctrlKey ? 120 : 420)), inPane(event));
}

/** @param {KeyboardEvent} event keys on the photo itself */
function key(event) {
  const { photo, mode } = get();
  if (!photo || event.ctrlKey || event.metaKey) return;
  const step = (event.shiftKey ? 40 : 8) / view.scale;
  const steps = /** @type {Record<string, [number, number]>} */ ({
    ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1],
  })[event.key];
  if (steps) {
    event.preventDefault();
    if (mode !== "mark") {
      view.pan(-steps[0] * step * view.scale * 3, -steps[1] * step * view.scale * 3);
      return;
    }
    const from = keyed ?? { x: photo.width / 2, y: photo.height / 2 };
    keyed = {
      x: Math.min(photo.width - 1, Math.max(0, from.x + steps[0] * step)),
      y: Math.min(photo.height - 1, Math.max(0, from.y + steps[1] * step)),
    };
    const stroke = { at: overlayPlace(keyed), shift: false, alt: event.altKey };
    if (tools.busy()) tools.move(stroke);
    else tools.hover(stroke);
    drawCross();
  } else if (event.key === "Enter" && mode === "mark") {
    event.preventDefault();
    keyed ??= { x: photo.width / 2, y: photo.height / 2 };
    const stroke = { at: overlayPlace(keyed), shift: event.shiftKey, alt: event.altKey };
    // A click ends at once; a stroke of the brush and a box last until the next Enter.
    if (tools.busy()) tools.end(stroke);
    else {
      tools.start(stroke);
      if (get().tool === "point") tools.end(stroke);
    }
    drawCross();
  } else if (event.key === "Escape") {
    tools.abandon();
    keyed = null;
    drawCross();
  }
}

function drawCross() {
  cross.hidden = !keyed || get().mode !== "mark";
  if (!keyed || cross.hidden) return;
  const place = view.toPane(keyed);
  cross.style.transform = `translate(${place.x}px, ${place.y}px)`;
}

/** @param {string} zoom what a button of the group says */
export function zoomBy(zoom) {
  if (zoom === "fit") view.fit();
  else if (zoom === "in") view.zoomTo(view.zoom * 1.5);
  else if (zoom === "out") view.zoomTo(view.zoom / 1.5);
  else view.zoomTo(Number(zoom));
}

export function startStage() {
  panes.addEventListener("pointerdown", press);
  panes.addEventListener("pointermove", move);
  panes.addEventListener("pointerup", release);
  panes.addEventListener("pointercancel", release);
  panes.addEventListener("pointerleave", () => {
    ring.hidden = true;
    if (!tools.busy()) tools.leave();
  });
  panes.addEventListener("wheel", wheel, { passive: false });
  panes.addEventListener("keydown", key);
  panes.addEventListener("blur", () => {
    keyed = null;
    drawCross();
  });
  panes.addEventListener("dblclick", (event) => {
    if (get().mode === "mark" && get().tool !== "hand") return;
    if (view.fitted) view.zoomTo(Math.max(1, view.zoom * 2), inPane(event));
    else view.fit();
  });
  window.addEventListener("keydown", (event) => holdSpace(event, true));
  window.addEventListener("keyup", (event) => holdSpace(event, false));
  part("zooms", HTMLElement).addEventListener("click", (event) => {
    const pressed = event.target instanceof Element ? event.target.closest("button") : null;
    if (pressed?.dataset.zoom) zoomBy(pressed.dataset.zoom);
  });
  new ResizeObserver(() => view.resized()).observe(paneOne);
  view.moved.push(() => {
    zoomShown.value = `${Math.round(view.zoom * 100)}%`;
    drawCross();
  });
  watch(["mode", "tool"], () => {
    const { mode, tool } = get();
    panes.dataset.tool = mode === "mark" ? tool : "hand";
    part("tools", HTMLElement).dataset.tool = tool;
    ring.hidden = true;
    drawCross();
  });
}

/** @param {KeyboardEvent} event @param {boolean} pressed */
function holdSpace(event, pressed) {
  if (event.key !== " " || (event.target !== panes && event.target !== document.body)) return;
  spaceHeld = pressed;
  panes.classList.toggle("held", pressed);
  event.preventDefault();
}

export { stage };
