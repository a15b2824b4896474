/** The data set's routes as functions. */

/** @import {Card, Listed, Photo, Subjects, Wanted} from "./types" */
import { ask } from "../api.js";

const text = encodeURIComponent;
const ROOT = "api/v1/dataset";
let version = "";

/** @param {Record<string, string | number>} values */
const search = (values) => new URLSearchParams(Object.entries(values).map(([name, value]) => [name, String(value)]));

export const api = {
  /** @returns {Promise<Card>} */
  card: async () => {
    const card = await ask("GET", "/dataset");
    version = card.sha256.slice(0, 12);
    return card;
  },
  /** @param {Wanted} wanted @param {number} offset @param {number} limit @returns {Promise<Listed>} */
  photos: (wanted, offset, limit) => ask("GET", `/dataset/photos?${search({ ...wanted, offset, limit })}`),
  /** @param {string} stage @param {string} reason @param {number} offset @param {number} limit @returns {Promise<Listed>} */
  dropped: (stage, reason, offset, limit) => ask("GET", `/dataset/dropped?${search({ stage, reason, offset, limit })}`),
  /** @param {string} part @returns {Promise<Subjects>} */
  subjects: (part) => ask("GET", `/dataset/subjects?${search({ part, limit: 200 })}`),
  /** @param {string} key @returns {Promise<Photo>} */
  photo: (key) => ask("GET", `/dataset/photos/${text(key)}`),
  /** @param {string} key @returns {Promise<Photo>} */
  judged: (key) => ask("GET", `/dataset/photos/${text(key)}/judged`),
  /** @param {object} judgement @returns {Promise<{number: number, photo: Photo}>} */
  judge: (judgement) => ask("POST", "/dataset/judgements", judgement),
  /** @param {object} asked @returns {Promise<{key: string | null}>} */
  lead: (asked) => ask("POST", "/dataset/queue", asked),
  /** @param {string} who @returns {Promise<{drawn: number, done: number, key: string | null, region: string | null}>} */
  audit: (who) => ask("GET", `/dataset/audit?${search({ who })}`),
};

/** Addresses of pictures; what is at one never changes. */
export const at = {
  /** @param {string} key @param {boolean} regions */
  thumbnail: (key, regions) => `${ROOT}/photos/${text(key)}/thumbnail?${search({ regions: String(regions), v: version })}`,
  /** @param {string} key @param {number} longest in pixels */
  picture: (key, longest) => `${ROOT}/photos/${text(key)}/picture?longest=${longest}`,
  /** @param {string} key @param {string} region its id @param {number} [longest] */
  judgedMask: (key, region, longest) => `${ROOT}/photos/${text(key)}/judged/${text(region)}/mask${longest ? `?longest=${longest}` : ""}`,
  /** @param {string} key @param {number} region @param {number} piece @param {number} longest */
  piece: (key, region, piece, longest) =>
    `${ROOT}/photos/${text(key)}/regions/${region}/pieces/${piece}/mask?${search({ longest, v: version })}`,
  /** @param {number} number */
  dropped: (number) => `${ROOT}/dropped/${number}/thumbnail`,
};
