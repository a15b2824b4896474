/** Masks as COCO's run-length object, which counts down the columns. */

/** @param {number} run a run, or its difference to the run before last */
function packed(run) {
  let text = "";
  for (let more = true; more; ) {
    let group = run & 31;
    run >>= 5;
    more = group & 16 ? run !== -1 : run !== 0;
    if (more) group |= 32;
    text += String.fromCharCode(group + 48);
  }
  return text;
}

/**
 * The mask of a picture's opacity, from half on.
 * @param {ImageData} picture
 * @returns {{size: [number, number], counts: string, area: number}} area: pixels inside
 */
export function maskOf(picture) {
  const { width, height, data } = picture;
  /** @type {number[]} */
  const runs = [];
  let run = 0;
  let inside = false;
  let area = 0;
  for (let column = 0; column < width; column++) {
    for (let row = 0; row < height; row++) {
      const set = data[4 * (row * width + column) + 3] >= 128;
      if (set !== inside) {
        runs.push(run);
        run = 0;
        inside = set;
      }
      run += 1;
      if (set) area += 1;
    }
  }
  runs.push(run);
  const counts = runs.map((each, place) => packed(place > 2 ? each - runs[place - 2] : each)).join("");
  return { size: [height, width], counts, area };
}
