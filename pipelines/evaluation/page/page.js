"use strict";
// Lays each photo's pictures over each other and wipes between them: from 0 to 100 the result comes over LQ, from 100
// to 200 HQ comes over the result. Left of the line is what comes, right of it what goes.
(() => {
  const press = (buttons, test) => buttons.forEach((button) => button.setAttribute("aria-pressed", String(test(button))));

  function viewer(photo) {
    const range = photo.querySelector("input[type=range]");
    const stage = photo.querySelector(".stage");
    const [line, left, right] = ["line", "left", "right"].map((name) => stage.querySelector("." + name));
    const hq = photo.querySelector(".hq");
    const results = new Map([...photo.querySelectorAll(".result")].map((layer) => [layer.dataset.title, layer]));
    const methods = photo.querySelectorAll("[data-method]");
    const stops = photo.querySelectorAll("[data-value]");
    const checks = photo.querySelectorAll("[data-check]");
    for (const name of ["left", "top"]) photo.style.setProperty("--" + name, photo.dataset[name] * 100 + "%");
    photo.style.setProperty("--zoom", photo.dataset.zoom);

    const view = {
      get method() { return photo.querySelector(".chosen")?.dataset.title; },
      set method(title) {
        if (!results.has(title)) return;
        results.forEach((layer, other) => layer.classList.toggle("chosen", other === title));
        draw();
      },
      has: (title) => results.has(title),
      get value() { return Number(range.value); },
      set value(value) { range.value = value; draw(); },
      check(name, on) {
        photo.classList.toggle(name, on);
        for (const box of checks) if (box.dataset.check === name) box.checked = on;
      },
      checked: (name) => photo.classList.contains(name),
    };

    function draw() {
      const value = view.value;
      const late = value > 100;
      const at = late ? value - 100 : value;
      const chosen = photo.querySelector(".chosen");
      const show = (layer, percent) => { layer.firstElementChild.style.setProperty("--shown", percent + "%"); };
      if (chosen) show(chosen, late ? 100 : at);
      show(hq, late ? at : 0);
      const result = chosen ? chosen.dataset.label : "no result";
      const [coming, going] = late ? ["HQ", result] : [result, "LQ"];
      line.style.left = at + "%";
      line.hidden = at === 0 || at === 100;
      left.textContent = coming;
      left.hidden = at === 0;
      right.textContent = going;
      right.hidden = at === 100;
      const seen = at === 100 ? coming : at === 0 ? going : `${coming} on the left ${at} percent, ${going} on the right`;
      range.setAttribute("aria-valuetext", seen);
      press(stops, (button) => Number(button.dataset.value) === value);
      press(methods, (button) => button.dataset.method === view.method);
    }

    range.addEventListener("input", () => { draw(); refresh(); });
    stops.forEach((button) => button.addEventListener("click", () => { view.value = button.dataset.value; refresh(); }));
    methods.forEach((button) => button.addEventListener("click", () => { view.method = button.dataset.method; refresh(); }));
    checks.forEach((box) => box.addEventListener("change", () => { view.check(box.dataset.check, box.checked); refresh(); }));

    let start = 0; // of the half that a drag began in; beyond the picture's edge it goes on in the other half
    const drag = (event) => {
      const box = stage.getBoundingClientRect();
      const value = Math.round(start + (100 * (event.clientX - box.left)) / box.width);
      view.value = Math.min(200, Math.max(0, value));
      refresh();
    };
    stage.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      start = view.value > 100 ? 100 : 0;
      stage.setPointerCapture(event.pointerId);
      drag(event);
    });
    stage.addEventListener("pointermove", (event) => { if (stage.hasPointerCapture(event.pointerId)) drag(event); });
    draw();
    return view;
  }

  const tools = document.querySelector(".tools");
  if (!tools) return;
  document.documentElement.classList.add("live");
  const [methods, stops, checks] = ["method", "value", "check"].map((name) => tools.querySelectorAll(`[data-${name}]`));
  const views = [...document.querySelectorAll(".photo")].map(viewer);

  // The tools for all photos tell what all of them show.
  function refresh() {
    press(methods, (button) => {
      const having = views.filter((view) => view.has(button.dataset.method));
      return having.every((view) => view.method === button.dataset.method);
    });
    press(stops, (button) => views.every((view) => view.value === Number(button.dataset.value)));
    for (const box of checks) {
      const on = views.filter((view) => view.checked(box.dataset.check)).length;
      box.checked = on === views.length;
      box.indeterminate = on > 0 && on < views.length;
    }
  }
  const all = (act) => { views.forEach(act); refresh(); };
  methods.forEach((button) => button.addEventListener("click", () => all((view) => { view.method = button.dataset.method; })));
  stops.forEach((button) => button.addEventListener("click", () => all((view) => { view.value = button.dataset.value; })));
  checks.forEach((box) => box.addEventListener("change", () => all((view) => view.check(box.dataset.check, box.checked))));
  refresh();
})();
