/** Photos: opened from files, the clipboard and samples, chosen from the strip, deleted. */

/** @import {Photo} from "./types" */
import { api, at } from "./api.js";
import { confirmed, fill, make, part, say, settle, tell, tellFault } from "./dom.js";
import { draftOf, dropDraft, dropDrafts } from "./drafts.js";
import { loaded } from "./masks.js";
import { showLocal, showPhoto } from "./pictures.js";
import { SegmentMap } from "./segments.js";
import { view } from "./stage.js";
import { EMPTY_WISH, get, set, startWith, watch } from "./store.js";
import { useSegments } from "./tools.js";

const says = part("stage-says", HTMLElement);

/** Where a tab remembers what its screen was for. */
export const KEPT_MODE = "instructrestore mode";

/** @param {Iterable<File>} files */
async function openFiles(files) {
  const all = [...files];
  if (all.length === 0) return;
  document.body.toggleAttribute("data-empty", false);
  const first = all[0];
  set({ mode: all.length > 1 ? "folder" : "mark" });
  if (all.length === 1) await showLocal(first);
  /** @type {string[]} */
  const refused = [];
  let shown = false;
  for (const [number, file] of all.entries()) {
    says.textContent = all.length > 1 ? `Opening ${number + 1} of ${all.length}…` : `Opening ${file.name}…`;
    try {
      const photo = await api.addPhoto(file, file.name || "photo");
      set({ photos: [...get().photos, photo] });
      settle();
      if (!shown) void choose(photo, all.length > 1 ? "folder" : "mark"); // the others come meanwhile
      if (all.length === 1) focusPhoto();
      shown = true;
    } catch (error) {
      refused.push(`${file.name}: ${error instanceof Error ? error.message : error}`);
    }
  }
  if (all.length > 1 || !shown) says.textContent = "";
  if (refused.length) tell(refused.slice(0, 3).join(" · ") + (refused.length > 3 ? ` · and ${refused.length - 3} more` : ""), "fault");
  if (!shown && !get().photo) document.body.toggleAttribute("data-empty", true);
}

/** What opened the photo is gone, or done with: the keyboard goes on at the photo. */
function focusPhoto() {
  const { activeElement } = document;
  const writes = activeElement instanceof HTMLTextAreaElement || (activeElement instanceof HTMLInputElement && activeElement.type !== "file");
  if (!(writes && activeElement.checkVisibility())) part("panes", HTMLElement).focus({ preventScroll: true });
}

/** @param {Photo} photo @param {"mark" | "folder"} [mode] */
export async function choose(photo, mode = "mark") {
  document.body.toggleAttribute("data-empty", false);
  const same = get().photo?.id === photo.id;
  set({ photo, mode });
  if (same) return;
  useSegments(null);
  set({ segments: null, shown: null, found: {}, looking: true });
  startWith(EMPTY_WISH);
  view.fit(photo);
  history.replaceState(null, "", `#${photo.id}`);
  for (const note of photo.notes) tell(note);
  const current = () => get().photo?.id === photo.id;
  void draftOf(photo).then((draft) => {
    if (!draft || !current() || get().wish.regions.length) return;
    startWith(draft.wish);
    set({ options: draft.options });
  });
  try {
    await showPhoto(photo);
    if (current()) await look(photo, current);
  } catch (error) {
    if (current()) tellFault(error);
  } finally {
    if (current()) set({ looking: false });
  }
}

/** Finds what is in the photo. @param {Photo} photo @param {() => boolean} current */
async function look(photo, current) {
  says.textContent = "Looking at what is in the photo…";
  try {
    const segments = await api.segments(photo.id);
    const picture = await loaded(at.segments(photo.id));
    if (!current()) return;
    useSegments(new SegmentMap(picture, picture.naturalWidth, picture.naturalHeight));
    set({ segments });
    says.textContent = "";
    say(segments.names.length ? `Found: ${segments.names.join(", ")}` : `${segments.segments.length} parts found`);
  } finally {
    if (current()) says.textContent = "";
  }
}

function drawStrip() {
  const { photos, photo } = get();
  const strip = part("strip", HTMLElement);
  const held = strip.contains(document.activeElement);
  strip.hidden = photos.length < 2;
  fill(
    part("photos", HTMLUListElement),
    ...photos.map((one) => {
      const picture = make("img", { src: at.thumbnail(one.id), alt: one.name, loading: "lazy", draggable: "false" });
      const current = one.id === photo?.id;
      return make("li", {}, make("button", { type: "button", title: one.name, "aria-current": current ? "true" : null, onclick: () => void choose(one) }, picture));
    }),
  );
  if (held) /** @type {HTMLElement | null} */ (strip.querySelector("[aria-current]"))?.focus();
}

async function deletePhoto() {
  const { photo, photos } = get();
  if (!photo || !(await confirmed(`Delete ${photo.name} with its masks and results?`, "Delete"))) return;
  try {
    await api.deletePhoto(photo.id);
    dropDraft(photo.id);
    const left = photos.filter((one) => one.id !== photo.id);
    set({ photos: left, jobs: Object.fromEntries(Object.entries(get().jobs).filter(([, job]) => job.photo !== photo.id)) });
    if (left.length) await choose(left[left.length - 1]);
    else leave();
  } catch (error) {
    tellFault(error);
  }
}

async function deleteAll() {
  if (!(await confirmed("Remove all your photos, masks and results from this machine?", "Remove everything"))) return;
  try {
    await api.deleteSession();
    dropDrafts();
    set({ jobs: {}, photos: [] });
    leave();
    set({ photos: await api.photos() });
    tell("Everything of yours is removed.");
  } catch (error) {
    tellFault(error);
  }
}

/** No photo at all: the first screen. */
function leave() {
  startWith(EMPTY_WISH);
  useSegments(null);
  set({ photo: null, segments: null, shown: null, mode: "mark", found: {} });
  history.replaceState(null, "", location.pathname);
  part("before", HTMLImageElement).removeAttribute("src");
  document.body.toggleAttribute("data-empty", true);
}

function startDropping() {
  const drop = part("drop", HTMLElement);
  let depth = 0;
  const holdsFiles = (/** @type {DragEvent} */ event) => event.dataTransfer?.types.includes("Files") ?? false;
  const ended = () => {
    depth = 0;
    drop.hidden = true;
  };
  window.addEventListener("dragenter", (event) => {
    if (!holdsFiles(event)) return;
    depth++;
    drop.hidden = false;
  });
  window.addEventListener("dragleave", () => --depth <= 0 && ended());
  window.addEventListener("dragover", (event) => event.preventDefault());
  window.addEventListener("drop", (event) => {
    event.preventDefault();
    ended();
    void openFiles(event.dataTransfer?.files ?? []);
  });
  window.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (files.length === 0) return;
    event.preventDefault();
    void openFiles(files);
  });
}

async function listSamples() {
  const samples = await api.samples();
  part("samples", HTMLElement).hidden = samples.length === 0;
  fill(
    part("sample-list", HTMLElement),
    ...samples.map(({ name, title }) => {
      const take = async () => {
        try {
          const photo = await api.takeSample(name);
          settle();
          set({ photos: [...get().photos.filter((one) => one.id !== photo.id), photo] });
          const seen = choose(photo);
          focusPhoto();
          await seen;
        } catch (error) {
          tellFault(error);
        }
      };
      return make("button", { type: "button", "data-sample": name, onclick: () => void take() }, title);
    }),
  );
}

export async function startPhotos() {
  const files = part("files", HTMLInputElement);
  for (const id of ["open", "open-first"]) part(id, HTMLButtonElement).addEventListener("click", () => files.click());
  files.addEventListener("change", () => {
    void openFiles([...(files.files ?? [])]);
    files.value = "";
  });
  part("delete-photo", HTMLButtonElement).addEventListener("click", () => void deletePhoto());
  part("delete-all", HTMLButtonElement).addEventListener("click", () => void deleteAll());
  startDropping();
  watch(["photos", "photo"], drawStrip);
  watch(["photo"], () => {
    const { photo } = get();
    part("photo-name", HTMLElement).textContent = photo ? `${photo.name} · ${photo.width} × ${photo.height}` : "";
    part("delete-photo", HTMLButtonElement).disabled = !photo;
    part("before", HTMLImageElement).alt = photo?.name ?? "";
    document.title = photo ? `${photo.name} · InstructRestore` : "InstructRestore";
  });
  try {
    void listSamples().catch(tellFault);
    const photos = (await api.photos()).sort((a, b) => Number(a.own) - Number(b.own) || a.created - b.created);
    set({ photos });
    const wanted = photos.find((photo) => photo.id === location.hash.slice(1));
    const only = photos.length === 1 ? photos[0] : undefined;
    const several = photos.length > 1 && photos.every((photo) => !photo.own);
    const kept = photos.length > 1 && sessionStorage.getItem(KEPT_MODE) === "folder" ? "folder" : "mark";
    if (wanted ?? only) await choose(/** @type {Photo} */ (wanted ?? only), kept);
    else if (several) await choose(photos[0], "folder");
    else if (photos.length) await choose(photos[photos.length - 1]);
  } catch (error) {
    tellFault(error);
  }
}
