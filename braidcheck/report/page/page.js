"use strict";
// Charts are drawn when they come into view, in the page's colours; everything works from the keyboard.
(() => {
  const root = document.documentElement, all = (what, where = document) => [...where.querySelectorAll(what)];
  const charts = JSON.parse(document.getElementById("charts")?.textContent ?? "{}");
  const plots = new Map();

  function colour(name) {
    const probe = document.body.appendChild(document.createElement("i"));
    probe.style.color = `var(--${name})`;
    const seen = getComputedStyle(probe).color;
    probe.remove();
    return seen;
  }

  function paint(plot) {
    const [ink, rule, blue, red, green] = ["quiet", "rule", "blue", "red", "green"].map(colour);
    for (const axis of [...plot.below, ...plot.left])
      axis.setv({ major_label_text_color: ink, axis_line_color: axis.axis_line_color && rule, major_tick_line_color: rule });
    for (const grid of plot.center.filter((one) => one.type.endsWith("Grid"))) grid.setv({ grid_line_color: grid.dimension ? rule : null });
    for (const renderer of plot.renderers) {
      if (renderer.name === "dots") renderer.glyph.setv({ fill_color: blue });
      else renderer.glyph.setv({ line_color: ink });
    }
    for (const span of plot.center.filter((one) => one.type === "Span"))
      span.setv({ line_color: span.name === "better" ? green : red });
  }

  async function show(box) {
    if (plots.has(box.id)) return;
    plots.set(box.id, null);
    const views = await Bokeh.embed.embed_item(charts[box.id], box.id);
    const plot = [...views][0].model;
    plots.set(box.id, { plot, night: null });
    plot.below[0].ticker.desired_num_ticks = Math.max(2, Math.floor(box.clientWidth / 100));
    if (matchMedia("(pointer: coarse)").matches) plot.toolbar.active_drag = null; // a finger scrolls
    paint(plot);
  }

  function extent(plot) {
    const x = [...plot.renderers.find((one) => one.name === "dots").data_source.data.x];
    const margin = (x[x.length - 1] - x[0]) * 0.02 || 1;
    return [x[0] - margin, x[x.length - 1] + margin];
  }

  function act(box, key) {
    const state = plots.get(box.id);
    if (!state) return;
    const range = state.plot.x_range, [first, last] = extent(state.plot);
    const source = state.plot.renderers.find((one) => one.name === "dots").data_source, data = source.data;
    const look = (centre, width) => {
      width = Math.min(width, last - first);
      range.start = Math.min(Math.max(centre - width / 2, first), last - width);
      range.end = range.start + width;
    };
    const width = range.end - range.start;
    if (key === "0") look(first, Infinity);
    else if (key === "+" || key === "-" || key === "=") {
      const centre = state.night === null ? range.start + width / 2 : data.x[state.night];
      look(centre, key === "-" ? width * 2 : width / 2);
    } else {
      const step = key === "ArrowLeft" ? -1 : 1, count = data.x.length;
      state.night = state.night === null ? count - 1 : Math.min(count - 1, Math.max(0, state.night + step));
      const x = data.x[state.night];
      if (x < range.start || x > range.end) look(x, width);
      source.selected.indices = [state.night];
      read(box, state);
    }
  }

  function read(box, { plot, night }) {
    const data = plot.renderers.find((one) => one.name === "dots").data_source.data, x = data.x[night];
    const when = plot.below[0].type === "DatetimeAxis" ? new Date(x).toISOString().slice(0, 16).replace("T", " ") : String(x);
    const value = (data.value ?? data.drawn)[night], commit = data.commit?.[night];
    box.closest(".card").querySelector(".readout").textContent = `${when}: ${Number(value.toPrecision(5))}${commit ? `, commit ${commit}` : ""}`;
  }

  const boxes = all(".chart");
  const watcher = new IntersectionObserver((seen) => seen.forEach((one) => one.isIntersecting && show(one.target)), { rootMargin: "300px" });
  boxes.forEach((box) => {
    watcher.observe(box);
    box.addEventListener("keydown", (event) => {
      if (["ArrowLeft", "ArrowRight", "+", "=", "-", "0"].includes(event.key)) {
        event.preventDefault();
        act(box, event.key);
      }
    });
  });
  all("[data-key]").forEach((button) => button.addEventListener("click", () => act(button.closest(".card").querySelector(".chart"), button.dataset.key)));

  // Filtering
  const text = document.getElementById("filter"), bad = document.getElementById("bad"), items = all("[data-text]");
  function filter() {
    const words = text.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const item of items) {
      const name = item.dataset.text.toLowerCase();
      item.hidden = !words.every((word) => name.includes(word)) || (bad.checked && item.dataset.bad !== "1");
      shown += !item.hidden;
    }
    for (const section of all("section")) {
      const own = all("[data-text]", section);
      section.hidden = own.length > 0 && own.every((item) => item.hidden);
    }
    document.getElementById("count").textContent = words.length || bad.checked ? `${shown} of ${items.length} shown` : "";
  }
  text.addEventListener("input", filter);
  bad.addEventListener("change", filter);

  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && !/^(INPUT|TEXTAREA)$/.test(document.activeElement.tagName)) {
      event.preventDefault();
      text.focus();
    }
  });

  // A link leads to what is folded or filtered away, too.
  function arrive() {
    const place = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!place) return;
    if (place.closest("[hidden]")) {
      text.value = "";
      bad.checked = false;
      filter();
    }
    for (let one = place; one; one = one.parentElement) if (one.tagName === "DETAILS") one.open = true;
    place.scrollIntoView();
  }
  addEventListener("hashchange", arrive);
  arrive();

  // Theme
  const button = document.getElementById("theme"), themes = ["system", "light", "dark"];
  function repaint() {
    plots.forEach((state) => state && paint(state.plot));
  }
  button.addEventListener("click", () => {
    const next = themes[(themes.indexOf(root.dataset.theme ?? "system") + 1) % themes.length];
    root.dataset.theme = next;
    button.textContent = `theme: ${next}`;
    repaint();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);

  all(".copy").forEach((one) => one.addEventListener("click", async () => {
    const code = one.previousElementSibling;
    try {
      await navigator.clipboard.writeText(code.textContent);
      one.textContent = "copied";
    } catch { // a page opened from a file may not write to the clipboard everywhere: select it instead
      getSelection().selectAllChildren(code);
    }
  }));
})();
