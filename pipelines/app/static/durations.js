/** How long things take, and how that is said. */

/** @import {Model, Settings} from "./types" */

/** @param {number} seconds */
export function duration(seconds) {
  if (seconds < 1.5) return "a second";
  if (seconds < 90) return `${Math.round(seconds)} seconds`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} minutes`;
  return `${(seconds / 3600).toFixed(1)} hours`;
}

/**
 * How long a photo takes, from what was measured so far; null where nothing was.
 * @param {Model} model
 * @param {{width: number, height: number}} photo
 * @param {Settings} settings
 */
export function expectedSeconds(model, photo, settings) {
  if (!model.seconds_per_megapixel_step) return null;
  const number = (/** @type {string} */ name, /** @type {number} */ otherwise) =>
    Number(settings[name] ?? model.sampling[name] ?? otherwise);
  const megapixels = (photo.width * photo.height * number("upscale", 1) ** 2) / 1e6;
  return model.seconds_per_megapixel_step * megapixels * number("num_inference_steps", 1);
}

/** @param {number} bytes */
export function size(bytes) {
  return bytes < 1e6 ? `${Math.max(1, Math.round(bytes / 1e3))} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}
