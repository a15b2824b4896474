/** Files that go to the person's disk; where the server refuses one, its sentence is told. */

import { Refusal } from "./api.js";
import { make, tell, tellFault } from "./dom.js";

/** @type {Record<string, string>} */
const FORMATS = { png: "PNG", jpeg: "JPEG", webp: "WebP", tiff: "TIFF, 16 bit", original: "As the original" };

/** What a format is called wherever one is chosen. @param {string} format */
export const formatName = (format) => FORMATS[format] ?? format.toUpperCase();

/** @param {readonly string[]} names "a", "a and b", "a, b and c" */
export const listed = (names) => [names.slice(0, -1).join(", "), ...names.slice(-1)].filter(Boolean).join(" and ");

/** @param {string} address @param {AbortSignal} [signal] @returns {Promise<Response>} */
async function asked(address, signal) {
  const response = await fetch(address, { credentials: "same-origin", signal: signal ?? null });
  if (response.ok) return response;
  const told = await response.json().catch(() => ({}));
  throw new Refusal(String(told.error ?? `the server answered with status ${response.status}`), response.status);
}

/** The name that the server gives a file. @param {Response} response */
function nameOf(response) {
  const header = response.headers.get("Content-Disposition") ?? "";
  const encoded = /filename\*=utf-8''([^;]+)/i.exec(header)?.[1];
  return encoded ? decodeURIComponent(encoded) : (/filename="([^"]*)"/.exec(header)?.[1] ?? "restored");
}

/** Pictures. @param {readonly string[]} addresses @param {readonly string[]} [names] by default those that the server gives them */
export async function savePictures(addresses, names = []) {
  tell(addresses.length === 1 ? "Making the file…" : "Making the files…");
  try {
    /** @type {string[]} */
    const saved = [];
    for (const [number, address] of addresses.entries()) {
      const response = await asked(address);
      const url = URL.createObjectURL(await response.blob());
      const name = names[number] ?? nameOf(response);
      make("a", { href: url, download: name }).click();
      setTimeout(() => URL.revokeObjectURL(url), 60_000);
      saved.push(name);
    }
    tell(`${listed(saved)} ${saved.length === 1 ? "is" : "are"} saved.`);
  } catch (error) {
    tellFault(error);
  }
}

/** Something too large to be held here: it is only looked whether the server gives it. @param {string} address */
export async function saveStream(address) {
  const look = new AbortController();
  try {
    await asked(address, look.signal);
    look.abort();
    make("a", { href: address, download: "" }).click();
  } catch (error) {
    tellFault(error);
  }
}
