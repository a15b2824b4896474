/** The map of the parts that were found in the photo: which part lies under a pixel, and where each part lies. */

/** @import {Box, Mask, Point, Segment} from "./types" */
import { copyOf } from "./masks.js";

export class SegmentMap {
  /**
   * @param {CanvasImageSource} picture the part's number is red + 256 green
   * @param {number} width
   * @param {number} height
   */
  constructor(picture, width, height) {
    this.width = width;
    this.height = height;
    const canvas = new OffscreenCanvas(width, height);
    const context = /** @type {OffscreenCanvasRenderingContext2D} */ (canvas.getContext("2d", { willReadFrequently: true }));
    context.imageSmoothingEnabled = false;
    context.drawImage(picture, 0, 0, width, height);
    const rgba = context.getImageData(0, 0, width, height).data;
    this.ids = new Uint16Array(width * height);
    /** @type {Map<number, {left: number, top: number, right: number, bottom: number}>} */
    this.bounds = new Map();
    for (let y = 0, at = 0; y < height; y++) {
      for (let x = 0; x < width; x++, at++) {
        const id = rgba[4 * at] + 256 * rgba[4 * at + 1];
        this.ids[at] = id;
        if (id) this.#widen(id, x, y);
      }
    }
  }

  /** @param {number} id @param {number} x @param {number} y */
  #widen(id, x, y) {
    const box = this.bounds.get(id);
    if (!box) {
      this.bounds.set(id, { left: x, top: y, right: x + 1, bottom: y + 1 });
      return;
    }
    if (x < box.left) box.left = x;
    if (x >= box.right) box.right = x + 1;
    box.bottom = y + 1;
  }

  /** The part at a place of the photo, each coordinate a share of its side; 0 for none. @param {Point} share */
  under(share) {
    const x = Math.floor(share.x * this.width);
    const y = Math.floor(share.y * this.height);
    if (x < 0 || y < 0 || x >= this.width || y >= this.height) return 0;
    return this.ids[y * this.width + x];
  }

  /**
   * Calls `see` for each pixel of a mask of this size that lies in the part.
   * @param {number} id
   * @param {{width: number, height: number}} size
   * @param {(at: number) => void} see
   * @returns {Box} what holds the part, in pixels of `size`
   */
  over(id, { width, height }, see) {
    const box = this.bounds.get(id);
    if (!box) return { x: 0, y: 0, width: 0, height: 0 };
    const left = Math.floor((box.left * width) / this.width);
    const right = Math.min(width, Math.ceil((box.right * width) / this.width));
    const top = Math.floor((box.top * height) / this.height);
    const bottom = Math.min(height, Math.ceil((box.bottom * height) / this.height));
    for (let y = top; y < bottom; y++) {
      const row = Math.floor(((y + 0.5) * this.height) / height) * this.width;
      for (let x = left; x < right; x++) {
        if (this.ids[row + Math.floor(((x + 0.5) * this.width) / width)] === id) see(y * width + x);
      }
    }
    return { x: left, y: top, width: right - left, height: bottom - top };
  }

  /** Whether most of the part lies in the mask. @param {number} id @param {Mask} mask */
  isIn(id, mask) {
    let inside = 0;
    let all = 0;
    this.over(id, mask, (at) => {
      all++;
      if (mask.data[at] > 127) inside++;
    });
    return inside > all / 2;
  }

  /**
   * The mask with the part, or without it where most of it is in the mask.
   * @param {Mask} mask
   * @param {number} id
   * @returns {Mask}
   */
  toggled(mask, id) {
    const leaves = this.isIn(id, mask);
    const changed = copyOf(mask);
    this.over(id, mask, (at) => (changed.data[at] = leaves ? 0 : 255));
    const segments = mask.segments && (leaves ? mask.segments.filter((one) => one !== id) : [...mask.segments, id]);
    return { ...changed, segments };
  }
}

/** How a part is called in the list: by its name, with doubt where there is any, or its number. @param {Segment} segment */
export const titleOf = ({ name, sure, id }) => (name ? (sure ? name : `${name}?`) : `part ${id}`);
