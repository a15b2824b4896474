/** A bar that is longer than the screen fades where more of it follows, so that it is seen to scroll. */

/** @param {HTMLElement} bar */
export function hintAtScroll(bar) {
  const draw = () => {
    bar.classList.toggle("more-left", bar.scrollLeft > 4);
    bar.classList.toggle("more-right", bar.scrollLeft + bar.clientWidth < bar.scrollWidth - 4);
  };
  bar.addEventListener("scroll", draw, { passive: true });
  const sizes = new ResizeObserver(draw);
  for (const element of [bar, ...bar.children]) sizes.observe(element);
}
