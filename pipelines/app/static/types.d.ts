/** What the API sends and takes, and what the page itself remembers. */

export interface Photo {
  id: string;
  name: string;
  width: number;
  height: number;
  bytes: number;
  notes: string[];
  created: number;
  own: boolean;
}

export interface Sample {
  name: string;
  title: string;
}

/** One part of the photo; `box` is x, y, width, height in pixels of the photo, `area` a share of it. */
export interface Segment {
  id: number;
  name: string;
  sure: boolean;
  area: number;
  box: [number, number, number, number];
}

export interface Segments {
  width: number;
  height: number;
  segments: Segment[];
  names: string[];
  vocabulary: string[];
}

export interface SavedMask {
  id: string;
  photo: string;
  width: number;
  height: number;
  share: number;
  notes: string[];
}

export interface CaptionScale {
  caption: string;
  scale: number;
}

export interface Parsed {
  text: string;
  regions: CaptionScale[];
  others: number;
  bokeh: boolean;
}

/** `model`: the language model that read the wish; null where the grammar understood it. */
export interface WishRead extends Parsed {
  model: string | null;
}

export type Settings = Record<string, number | string | boolean | null>;
export type JobKind = "restore" | "mask" | "sweep";
export type JobState = "queued" | "running" | "done" | "failed" | "cancelled" | "interrupted";
export type Rest = "restored" | "keep";

export interface Asked {
  photo: string;
  kind: JobKind;
  instruction: string | { regions: CaptionScale[]; others: number; bokeh: boolean };
  read_from?: { typed: string; model: string };
  masks?: (string | null)[];
  seed?: number;
  settings?: Settings;
  rest?: Rest;
  feather?: number;
  sweep?: number[];
  preview?: boolean;
}

export interface Result {
  name: string;
  kind: "image" | "mask";
  title: string;
  width: number;
  height: number;
  caption?: string;
  share?: number;
  scale?: number;
}

export interface Job {
  id: string;
  photo: string;
  folder: string | null;
  kind: JobKind;
  asked: Asked;
  instruction: string;
  state: JobState;
  position: number | null;
  step: number;
  steps: number;
  created: number;
  started: number | null;
  ended: number | null;
  seconds: number | null;
  expected_seconds: number | null;
  error: string;
  notes: string[];
  doing: string;
  results: Result[];
  command: string;
  python: string;
  record: unknown;
}

export interface Folder {
  id: string;
  jobs: Job[];
  done: number;
  failed: number;
  left: number;
  expected_seconds: number | null;
}

export interface Model {
  name: string;
  base: string;
  checkpoint: string | null;
  state: "loading" | "ready" | "failed";
  error: string;
  device: string;
  device_name: string;
  dtype: string;
  memory_mib: number | null;
  total_memory_mib: number | null;
  segmenter: string;
  language_model: boolean;
  sampling: Settings;
  seconds_per_megapixel_step: number | null;
  limits: Record<string, number>;
  formats: string[];
  lifetime_hours: number;
  folder: string;
}

/**
 * A region's mask at the overlay's size: `data` has one byte a pixel, 255 in the region. Never changed once it is in the
 * store: an edit makes a new one. `segments`: the parts of the photo of which it is exactly the union, else null.
 */
export interface Mask {
  readonly width: number;
  readonly height: number;
  readonly data: Uint8Array;
  readonly segments: readonly number[] | null;
}

/** `own`: the caption was typed, so that a click on the photo leaves it alone. `mask` null: found by the model. */
export interface Region {
  readonly id: number;
  readonly caption: string;
  readonly own: boolean;
  readonly scale: number;
  readonly colour: number;
  readonly mask: Mask | null;
}

/** What undo and redo walk through. */
export interface Wish {
  readonly regions: readonly Region[];
  readonly active: number | null;
  readonly others: number;
  readonly bokeh: boolean;
}

export interface Options {
  readonly rest: Rest;
  readonly feather: number;
  readonly seed: number;
  readonly settings: Settings;
}

export type Tool = "point" | "brush" | "erase" | "box" | "hand";
export type Mode = "mark" | "compare" | "folder";
export type Look = "wipe" | "side" | "result" | "difference" | "sheet";

export interface TextFault {
  message: string;
  start: number;
  end: number;
}

export interface State {
  model: Model | null;
  photos: readonly Photo[];
  photo: Photo | null;
  segments: Segments | null;
  looking: boolean;
  wish: Wish;
  text: string;
  fault: TextFault | null;
  options: Options;
  mode: Mode;
  tool: Tool;
  look: Look;
  brush: { size: number; softness: number; amount: number };
  jobs: Readonly<Record<string, Job>>;
  shown: { job: string; result: string } | null;
  /** What the model takes for a region, by its caption in lower case. */
  found: Readonly<Record<string, Mask>>;
  connected: boolean;
}

export interface Point {
  x: number;
  y: number;
}

export interface Box {
  x: number;
  y: number;
  width: number;
  height: number;
}

/** A place on the photo in pixels of the overlay, and what is held. */
export interface Stroke {
  at: Point;
  shift: boolean;
  alt: boolean;
}
