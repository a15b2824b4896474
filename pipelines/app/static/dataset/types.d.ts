/** What the data set's routes send, and what its page is looking for. */

export interface Facet {
  value: string;
  count: number;
}

export interface Reason {
  stage: string;
  kind: string;
  reason: string;
  count: number;
}

export interface Card {
  name: string;
  folder: string;
  sha256: string;
  photos: number;
  regions: number;
  state: "being read" | "ready" | "failed";
  error: string;
  records: number | null;
  sources: Facet[];
  licences: Facet[];
  said: Facet[];
  reasons: Reason[];
}

/** A photo in the list; what was left out has a number, a stage and a reason in the place of a key. */
export interface Line {
  key: string;
  width: number;
  height: number;
  quality: number | null;
  subjects: string[];
  least_agreement: number | null;
}

export interface Dropped {
  number: number;
  stage: string;
  kind: string;
  reason: string;
  detail: string;
  uri: string;
  name: string;
}

export type Item = Line | Dropped;

export interface Listed {
  count: number;
  offset: number;
  photos: Item[];
}

export interface Subject {
  subject: string;
  photos: number;
  regions: number;
}

export interface Subjects {
  count: number;
  subjects: Subject[];
}

export interface Answer {
  model: string;
  revision: string;
  round: number;
  noun_phrase: string;
  subject: string;
  faults: string;
}

export interface Piece {
  segmenter: string;
  description: string;
  describer: string;
  noun_phrase: string;
  subject: string;
  area: number;
  answers: Answer[];
}

export interface Judgement {
  number: number;
  when: string;
  who: string;
  act: string;
  key: string;
  region: string;
}

export interface Region {
  id: string;
  judged: boolean;
  corrections: { act: string; who: string; when: string }[];
  caption: string;
  subject: string;
  bokeh: boolean;
  colour: string;
  area: number;
  box: [number, number, number, number];
  agreement: { score: number; model: string } | null;
  pieces: Piece[];
}

export interface Photo {
  key: string;
  name: string;
  source: string;
  licence: string;
  url: string;
  width: number;
  height: number;
  bytes: number;
  format: string;
  quality: number | null;
  quality_metric: string;
  group: string;
  regions: Region[];
  gone: boolean;
  judgements: Judgement[];
}

/** What is looked for, by the names of the route's parameters, and what is shown of it; as text, as in the address. */
export type Wanted = Record<string, string>;
