/** The HTTP API as functions. */

/** @import {Asked, Folder, Job, Model, Parsed, Photo, Sample, SavedMask, Segments, WishRead} from "./types" */

const ROOT = "api/v1";

/** What the server refused, in its own sentence; `start` and `end` are a place in an instruction's text, or -1. */
export class Refusal extends Error {
  /**
   * @param {string} sentence
   * @param {number} status
   * @param {number} start
   * @param {number} end
   */
  constructor(sentence, status, start = -1, end = -1) {
    super(sentence);
    this.status = status;
    this.start = start;
    this.end = end;
  }
}

/**
 * @param {string} method
 * @param {string} path
 * @param {object | Blob} [body] a Blob is sent as it is, anything else as JSON
 * @returns {Promise<any>}
 */
export async function ask(method, path, body) {
  /** @type {RequestInit} */
  const request = { method, headers: {}, credentials: "same-origin" };
  if (body instanceof Blob) {
    request.body = body;
    request.headers = { "Content-Type": "application/octet-stream" };
  } else if (body) {
    request.body = JSON.stringify(body);
    request.headers = { "Content-Type": "application/json" };
  }
  let response;
  try {
    response = await fetch(`${ROOT}${path}`, request);
  } catch (error) {
    throw new Refusal("the server does not answer; is it still running where it was started?", 0);
  }
  if (response.ok) return response.status === 204 ? null : response.json();
  const told = await response.json().catch(() => ({}));
  const sentence = typeof told.error === "string" ? told.error : `the server answered with status ${response.status}`;
  throw new Refusal(sentence, response.status, told.start ?? -1, told.end ?? -1);
}

const text = encodeURIComponent;

export const api = {
  /** @returns {Promise<Model>} */
  model: () => ask("GET", "/model"),
  /** @returns {Promise<Photo[]>} */
  photos: async () => (await ask("GET", "/photos")).photos,
  /** @param {File | Blob} file @param {string} name @returns {Promise<Photo>} */
  addPhoto: (file, name) => ask("POST", `/photos?name=${text(name)}`, file),
  /** @param {string} id @returns {Promise<void>} */
  deletePhoto: (id) => ask("DELETE", `/photos/${id}`),
  /** @returns {Promise<void>} */
  deleteSession: () => ask("DELETE", "/session"),
  /** @returns {Promise<Sample[]>} */
  samples: async () => (await ask("GET", "/samples")).samples,
  /** @param {string} name @returns {Promise<Photo>} */
  takeSample: (name) => ask("POST", `/samples/${text(name)}`),

  /** @param {string} photo @returns {Promise<Segments>} */
  segments: (photo) => ask("POST", `/photos/${photo}/segments`),
  /** @param {string} photo @param {Blob} file @param {string} name @returns {Promise<SavedMask>} */
  addMask: (photo, file, name) => ask("POST", `/photos/${photo}/masks?name=${text(name)}`, file),
  /** @param {string} photo @param {readonly number[]} segments @returns {Promise<SavedMask>} */
  maskOfSegments: (photo, segments) => ask("POST", `/photos/${photo}/masks/segments`, { segments, feather: 0 }),

  /** @param {string} words @returns {Promise<Parsed>} */
  parse: (words) => ask("POST", "/instructions", { text: words }),
  /** @param {string} words @returns {Promise<WishRead>} */
  readWish: (words) => ask("POST", "/wishes", { text: words }),
  /** @param {Omit<Parsed, "text">} wish @returns {Promise<Parsed>} */
  write: (wish) => ask("POST", "/instructions", wish),

  /** @param {Asked} asked @returns {Promise<Job>} */
  addJob: (asked) => ask("POST", "/jobs", asked),
  /** @returns {Promise<Job[]>} */
  jobs: async () => (await ask("GET", "/jobs")).jobs,
  /** @param {string} id @returns {Promise<Job>} */
  cancel: (id) => ask("POST", `/jobs/${id}/cancel`),
  /** @param {string} id @returns {Promise<Job>} */
  again: (id) => ask("POST", `/jobs/${id}/again`),
  /** @param {string} id @returns {Promise<void>} */
  deleteJob: (id) => ask("DELETE", `/jobs/${id}`),

  /** @param {Omit<Asked, "photo" | "kind"> & {photos: string[]}} asked @returns {Promise<Folder>} */
  addFolder: (asked) => ask("POST", "/folders", asked),
  /** @param {string} id @returns {Promise<unknown>} */
  cancelFolder: (id) => ask("POST", `/folders/${id}/cancel`),
};

/** Addresses of pictures and files. */
export const at = {
  events: `${ROOT}/events`,
  /** @param {string} photo @param {number} [longest] in pixels */
  picture: (photo, longest) => `${ROOT}/photos/${photo}/picture${longest ? `?longest=${longest}` : ""}`,
  /** @param {string} photo */
  thumbnail: (photo) => `${ROOT}/photos/${photo}/thumbnail`,
  /** @param {string} photo */
  segments: (photo) => `${ROOT}/photos/${photo}/segments.png`,
  /** @param {string} mask @param {number} longest */
  mask: (mask, longest) => `${ROOT}/masks/${mask}?longest=${longest}`,
  /** @param {string} job @param {string} result @param {string} format @param {number} [longest] */
  result: (job, result, format, longest) =>
    `${ROOT}/jobs/${job}/results/${text(result)}?format=${format}${longest ? `&longest=${longest}` : ""}`,
  /** @param {string} job @param {string} result @param {string} format */
  download: (job, result, format) => `${ROOT}/jobs/${job}/results/${text(result)}?format=${format}&download=1`,
  /** @param {string} folder @param {string} format */
  zip: (folder, format) => `${ROOT}/folders/${folder}/zip?format=${format}`,
};
