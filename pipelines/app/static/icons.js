/** The icons: strokes on a field of 24 by 24. */

/** @type {Record<string, string>} */
const PATHS = {
  add: "M12 5v14M5 12h14",
  again: "M20 11a8 8 0 1 0-2.3 6.3M20 5v6h-6",
  box: "M4 7V4h3M17 4h3v3M20 17v3h-3M7 20H4v-3M4 11v2M20 11v2M11 4h2M11 20h2",
  brush: "M4 20c4 0 6-1 6-4 0-1.7-1.3-3-3-3s-3 1.3-3 3c0 2-1 3-2 3.5M9.5 13.5 19 4l1.5 1.5-9.5 9.5",
  clear: "M6 6l12 12M6 18 18 6",
  close: "M6 6l12 12M6 18 18 6",
  compare: "M12 3v18M4 6h5v12H4zM15 6h5v12h-5",
  copy: "M9 9h11v11H9zM5 15H4V4h11v1",
  download: "M12 4v11M7 11l5 5 5-5M5 20h14",
  erase: "M8 19h12M4 14 14 4l6 6-9 9H8z",
  eye: "M2 12s4-7 10-7 10 7 10 7-4 7-10 7S2 12 2 12zM12 9.5a2.5 2.5 0 1 0 0 5 2.5 2.5 0 0 0 0-5",
  file: "M6 3h8l5 5v13H6zM14 3v5h5",
  folder: "M3 6h6l2 2h10v11H3z",
  grow: "M9 9h6v6H9zM12 6V2M12 22v-4M2 12h4M18 12h4",
  hand: "M8 12V6a1.5 1.5 0 0 1 3 0v5M11 11V4.5a1.5 1.5 0 0 1 3 0V11M14 11V6a1.5 1.5 0 0 1 3 0v8c0 4-2 7-5.5 7S7 19 5.5 16l-2-4a1.5 1.5 0 0 1 2.7-1.2L8 13",
  invert: "M12 3a9 9 0 1 0 0 18zM12 3a9 9 0 0 1 0 18",
  more: "M4.5 12h1M11.5 12h1M18.5 12h1M4.5 12.5h1M11.5 12.5h1M18.5 12.5h1",
  photo: "M3 5h18v14H3zM3 16l5-5 4 4 3-3 6 6M15.5 9h.01",
  point: "M6 3l12 10-6 1 3.5 6-2.5 1.5L9.5 15 6 19z",
  redo: "M15 5l5 5-5 5M20 10H10a6 6 0 0 0 0 12h2",
  search: "M10.5 4a6.5 6.5 0 1 0 0 13 6.5 6.5 0 0 0 0-13M15.5 15.5 21 21",
  sheet: "M4 4h7v7H4zM13 4h7v7h-7zM4 13h7v7H4zM13 13h7v7h-7z",
  shrink: "M10 10h4v4h-4zM12 2v5M12 22v-5M2 12h5M22 12h-5",
  soft: "M12 4a8 8 0 1 0 0 16 8 8 0 0 0 0-16M12 9a3 3 0 1 0 0 6 3 3 0 0 0 0-6",
  stop: "M6 6h12v12H6z",
  trash: "M4 7h16M9 7V4h6v3M6 7l1 13h10l1-13M10 11v5M14 11v5",
  undo: "M9 5l-5 5 5 5M4 10h10a6 6 0 0 1 0 12h-2",
  upload: "M12 16V4M7 9l5-5 5 5M5 20h14",
};

/** @param {string} name */
export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", PATHS[name] ?? "");
  svg.append(path);
  return svg;
}

/** Gives every element of the page that names an icon (`data-icon`) that icon. */
export function placeIcons() {
  for (const element of document.querySelectorAll("[data-icon]")) {
    element.prepend(icon(/** @type {HTMLElement} */ (element).dataset.icon ?? ""));
  }
}
