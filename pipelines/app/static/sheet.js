/** The sweep: one region with several scales as a contact sheet, from which one is chosen. */

/** @import {Job, Result} from "./types" */
import { api, at } from "./api.js";
import { shownResult } from "./compare.js";
import { fill, make, part, say, settle, tellFault } from "./dom.js";
import { wishOf } from "./found.js";
import { asked, take, awaitEnd } from "./jobs.js";
import { changeRegion } from "./regions.js";
import { activeRegion, get, set, watch } from "./store.js";

const SCALES = [0.5, 0.7, 0.9, 1.1];
const sheet = part("sheet", HTMLElement);

/** Asks for the sweep of the active region: the server takes the first one's scale. */
async function start() {
  try {
    const wanted = await asked();
    if (!wanted || typeof wanted.instruction === "string") return;
    const first = Math.max(0, get().wish.regions.findIndex((region) => region.id === activeRegion()?.id));
    const ahead = (/** @type {readonly any[]} */ list) => [list[first], ...list.filter((_, place) => place !== first)];
    const instruction = { ...wanted.instruction, regions: ahead(wanted.instruction.regions) };
    const job = await api.addJob({ ...wanted, kind: "sweep", instruction, masks: ahead(wanted.masks ?? []), sweep: SCALES });
    awaitEnd(job);
    settle();
    take(job);
  } catch (error) {
    tellFault(error);
  }
}

/** @param {Job} job @param {Result} result */
async function choose(job, result) {
  set({ shown: { job: job.id, result: result.name }, look: "wipe" });
  try {
    const { caption } = (await wishOf(job)).regions[0];
    const region = get().wish.regions.find((one) => one.caption.toLowerCase() === caption.toLowerCase());
    if (!region || result.scale === undefined) return;
    changeRegion(region.id, { scale: result.scale });
    say(`${caption}: ${result.scale}`);
  } catch (error) {
    tellFault(error);
  }
}

function draw() {
  const { mode, look } = get();
  const found = shownResult();
  const open = mode === "compare" && look === "sheet" && found?.job.kind === "sweep";
  sheet.hidden = !open;
  part("zooms", HTMLElement).hidden = open; // there is nothing to zoom, and it lies over the last caption
  if (!open || !found) return;
  const { job, result: chosen } = found;
  fill(
    sheet,
    ...job.results
      .filter((result) => result.kind === "image")
      .map((result) =>
        make(
          "button",
          { type: "button", class: result === chosen ? "chosen" : "", "data-scale": result.scale, onclick: () => void choose(job, result) },
          make("img", { src: at.result(job.id, result.name, "jpeg", 900), alt: "", draggable: "false" }),
          make("span", {}, words(result)),
        ),
      ),
  );
}

/** @param {Result} result */
function words({ scale, title }) {
  if (scale === undefined) return title;
  if (scale <= 0.6) return `${scale}: more detail`;
  return scale >= 1.05 ? `${scale}: closer to the photo` : `${scale}`;
}

export function startSheet() {
  part("sweep", HTMLButtonElement).addEventListener("click", () => void start());
  watch(["photo"], () => (part("sweep", HTMLButtonElement).disabled = !get().photo));
  watch(["shown", "mode", "look", "photo"], draw);
}
