/** Text that others wrote, for people's eyes: nothing in it hides what is there, and it ends somewhere. */

const LONGEST = 2000;
const ACTS = /[\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069\ud800-\udfff]/gu;

/** @param {string} text @param {number} [longest] in characters */
export function shown(text, longest = LONGEST) {
  const cut = text.length > longest ? `${text.slice(0, longest)}… (${text.length.toLocaleString("en")} characters)` : text;
  return cut.replace(ACTS, (sign) => `\\u${sign.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

/** @param {number} share of a photo, 0..1 */
export const percent = (share) => (share > 0 && share < 0.001 ? "under 0.1%" : `${(100 * share).toFixed(1)}%`);

/** @param {number} count @param {string} one */
export const counted = (count, one) => `${count.toLocaleString("en")} ${one}${count === 1 ? "" : "s"}`;
