/** The controls as a sheet under the photo, on a phone: its grip makes it higher or lower. */

import { part } from "./dom.js";

const HEIGHTS = [22, 46, 80]; // hundredths of the screen's height

export function startGrip() {
  const grip = part("grip", HTMLButtonElement);
  const root = document.documentElement;
  let height = HEIGHTS[1];
  let dragged = false;
  const settle = (/** @type {number} */ next) => {
    height = Math.min(88, Math.max(14, next));
    root.style.setProperty("--sheet", `${height}dvh`);
    document.body.classList.toggle("high-sheet", height > 60);
    grip.setAttribute("aria-expanded", String(height > HEIGHTS[1]));
  };
  grip.addEventListener("pointerdown", (event) => {
    grip.setPointerCapture(event.pointerId);
    dragged = false;
  });
  grip.addEventListener("pointermove", (event) => {
    if (!grip.hasPointerCapture(event.pointerId)) return;
    const next = ((innerHeight - event.clientY) / innerHeight) * 100;
    if (!dragged && Math.abs(next - height) < 3) return;
    dragged = true;
    settle(next);
  });
  grip.addEventListener("click", () => {
    if (!dragged) settle(height > HEIGHTS[1] ? HEIGHTS[0] : height < HEIGHTS[1] ? HEIGHTS[1] : HEIGHTS[2]);
    dragged = false;
  });
}
