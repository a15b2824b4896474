/** Where the photo lies on the screen: zoom about a point, pan, fit. Both panes of a comparison move together. */

/** @import {Point} from "./types" */

const MOST = 16; // screen pixels for one of the photo
const MARGIN = 16; // around the fitted photo, in CSS pixels

export class View {
  /** @param {HTMLElement[]} worlds the layers of each pane, laid out at the photo's size @param {() => {width: number, height: number}} pane */
  constructor(worlds, pane) {
    this.worlds = worlds;
    this.pane = pane;
    this.photo = { width: 1, height: 1 };
    this.scale = 1; // CSS pixels for one of the photo
    this.x = 0;
    this.y = 0;
    this.fitted = true;
    /** @type {(() => void)[]} */
    this.moved = [];
  }

  /** The whole photo, as large as the pane has room. @param {{width: number, height: number}} [photo] another photo's size */
  fit(photo) {
    if (photo) {
      this.photo = { width: photo.width, height: photo.height };
      for (const world of this.worlds) {
        world.style.width = `${photo.width}px`;
        world.style.height = `${photo.height}px`;
      }
    }
    this.fitted = true;
    this.scale = this.#fittingScale();
    const { width, height } = this.pane();
    this.x = (width - this.photo.width * this.scale) / 2;
    this.y = (height - this.photo.height * this.scale) / 2;
    this.#place();
  }

  #fittingScale() {
    const { width, height } = this.pane();
    const room = [(width - 2 * MARGIN) / this.photo.width, (height - 2 * MARGIN) / this.photo.height];
    return Math.max(0.001, Math.min(4, ...room));
  }

  /** How many screen pixels a pixel of the photo takes. */
  get zoom() {
    return this.scale * window.devicePixelRatio;
  }

  /** @param {number} zoom 1: a pixel for a pixel @param {Point} [about] stays where it is, in the pane; by default its centre */
  zoomTo(zoom, about) {
    const { width, height } = this.pane();
    const centre = about ?? { x: width / 2, y: height / 2 };
    const least = Math.min(this.#fittingScale(), 1 / window.devicePixelRatio);
    const scale = Math.min(MOST / window.devicePixelRatio, Math.max(least, zoom / window.devicePixelRatio));
    const held = this.toPhoto(centre);
    this.scale = scale;
    this.fitted = false;
    this.x = centre.x - held.x * scale;
    this.y = centre.y - held.y * scale;
    this.#keepInSight();
    this.#place();
  }

  /** @param {number} dx in CSS pixels @param {number} dy */
  pan(dx, dy) {
    this.x += dx;
    this.y += dy;
    this.fitted = false;
    this.#keepInSight();
    this.#place();
  }

  /** A place in the pane as one of the photo, in its pixels. @param {Point} place @returns {Point} */
  toPhoto(place) {
    return { x: (place.x - this.x) / this.scale, y: (place.y - this.y) / this.scale };
  }

  /** @param {Point} place @returns {Point} */
  toPane(place) {
    return { x: place.x * this.scale + this.x, y: place.y * this.scale + this.y };
  }

  /** The pane has another size. */
  resized() {
    if (this.fitted) this.fit();
    else this.pan(0, 0);
  }

  #keepInSight() {
    const { width, height } = this.pane();
    this.x = held(this.x, this.photo.width * this.scale, width);
    this.y = held(this.y, this.photo.height * this.scale, height);
  }

  #place() {
    for (const world of this.worlds) {
      world.style.transform = `translate(${this.x}px, ${this.y}px) scale(${this.scale})`;
      world.classList.toggle("pixels", this.zoom >= 2);
    }
    for (const tell of this.moved) tell();
  }
}

/** An offset at which a length stays in sight: centred where it fits. @param {number} offset @param {number} length @param {number} room */
function held(offset, length, room) {
  if (length <= room) return (room - length) / 2;
  return Math.min(MARGIN, Math.max(room - length - MARGIN, offset));
}
