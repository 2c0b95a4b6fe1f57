// Links the views: one selected design, one set of highlighted designs, the same in every view.
"use strict";
// ---- drawing ----
const LOSSES = ["pareto", "share"], everyLoss = () => byId("every-loss")?.checked ?? false;
const LINKED = ["pareto", "parallel", "share"], CLICKED = [...LINKED, "budget"];
const dark = matchMedia("(prefers-color-scheme: dark)"), coarse = matchMedia("(pointer: coarse)");
const specOf = (name) => run.figures[name] || run.figures[`${name}:${byId("quantity")?.value}`];
const plots = [...document.querySelectorAll(".plot")].map((div) => div.id.slice(5)).filter(specOf);
function layoutOf(name, spec) {
  const layout = {...spec.layout, template: run.templates[dark.matches ? "dark" : "light"], autosize: true, selections: [],
    // A box is gone once its designs are marked: a revision that never repeats keeps Plotly from restoring it.
    uirevision: "kept", selectionrevision: performance.now(),
    // A finger that scrolls the page must not start a selection.
    dragmode: coarse.matches ? false : LINKED.includes(name) ? "select" : "zoom"};
  if (name === "pareto") {
    const {x, y} = axes();
    Object.assign(layout, {xaxis: {...layout.xaxis, range: undefined, ...run.specs[x].axis}, yaxis: {...layout.yaxis, range: undefined, ...run.specs[y].axis}, uirevision: `${x} ${y}`});
  }
  if (LOSSES.includes(name) && everyLoss()) {
    for (const axis of ["xaxis", "yaxis"]) layout[axis] = {...layout[axis], range: undefined, autorange: true};
    layout.uirevision += " every loss";
  }
  if (name === "coverage" && layout.shapes && digitalCount() !== null) {
    layout.shapes = layout.shapes.map((line) => ({...line, x0: digitalCount() / run.expertCount, x1: digitalCount() / run.expertCount}));
  }
  return layout;
}
const config = (name) => ({displaylogo: false, responsive: true, plotlyServerURL: "",
  modeBarButtonsToRemove: ["sendChartToCloud", "toImage", "autoScale2d",
    "zoomIn2d", "zoomOut2d", ...(name === "parallel" ? ["lasso2d", "zoom2d", "pan2d", "resetScale2d"] : [])]});
let bound = true;
function draw(name) {
  const spec = specOf(name), div = byId(`plot-${name}`), first = !div.data;
  const traces = BIND[name] && spec.data.length ? BIND[name](spec) : spec.data;
  bound = false;
  Plotly.react(div, traces, layoutOf(name, spec), config(name));
  bound = true;
  stale.delete(name);
  if (first && CLICKED.includes(name)) listen(name, div);
}
// A figure is drawn when it comes near the window, and again only while it is there: what is out
// of sight stays stale until it comes back.
const stale = new Set(plots), near = new Set();
let drawing = false;
function drawNear() {
  // One figure a turn, so that the page stays responsive.
  const name = plots.find((each) => stale.has(each) && near.has(each)), page = document.documentElement.dataset;
  page.state = name ? "drawing" : "drawn";
  drawing = Boolean(name);
  if (!name) page.ready ??= Math.round(performance.now());
  else { draw(name); setTimeout(drawNear, 0); }
}
function redraw(names) {
  for (const name of names) stale.add(name);
  if (!drawing) drawNear();
}
function watch() {
  const observer = new IntersectionObserver((entries) => {
    for (const {target, isIntersecting} of entries) near[isIntersecting ? "add" : "delete"](target.id.slice(5));
    redraw([]);
  }, {rootMargin: "400px 0px"});
  for (const name of plots) {
    // The figure's room is kept, so that nothing moves when it is drawn.
    byId(`plot-${name}`).style.minHeight = `${specOf(name).layout.height || 150}px`;
    observer.observe(byId(`plot-${name}`));
  }
  addEventListener("beforeprint", () => [...stale].forEach(draw));
}
function listen(name, div) {
  div.on("plotly_click", (event) => {
    const chosen = event.points.map((p) => p.customdata).find((c) => typeof c === "number");
    if (chosen !== undefined) select(name === "budget" ? run.rows.complete.find((i) => value("trial", i) === chosen) : chosen);
  });
  div.on("plotly_selected", (event) => {
    // Plotly tells of a selection also while it draws one that the page set: nobody chose that.
    if (!event || !bound || !LINKED.includes(name)) return;
    mark(name === "parallel" ? throughBox(event.range) : event.points.map((p) => p.customdata));
  });
}
function throughBox(range) {
  if (!range) return [];
  const [x0, x1] = [...range.x].sort((a, b) => a - b), [y0, y1] = [...range.y].sort((a, b) => a - b);
  const crossed = heights.filter((_, place) => place >= x0 && place <= x1);
  return crossed.length ? run.rows.complete.filter((i) => crossed.every((column) => column[i] >= y0 && column[i] <= y1)) : [];
}

// ---- selection ----
function select(i) {
  if (!(i >= 0)) return;
  state.selected = i;
  state.mapCount = null;
  describe();
  redraw(plots.filter((name) => BIND[name]));
}
function mark(rows) {
  state.marked = new Set(rows.filter((i) => typeof i === "number"));
  describe();
  redraw(plots.filter((name) => LINKED.includes(name)));
}
function describe() {
  const i = state.selected, name = nameOf(i);
  byId("selected-name").textContent = `Selected: ${name}${i === run.recommended && i >= 0 ? " (recommended)" : ""}`;
  byId("marked-count").textContent = state.marked.size ? `${state.marked.size} highlighted` : "";
  for (const span of document.querySelectorAll(".selected-label")) span.textContent = name;
  byId("card").replaceChildren(...run.card.filter((c) => i >= 0 && hasPart(c, i)).map((c) => {
    const row = element("div"), text = show(c, i);
    row.append(element("dt", run.specs[c].label), element("dd", text + likeRecommended(c, i, " ≈ recommended"), text === MISSING ? "missing" : ""));
    return row;
  }));
  fillTable();
}

// ---- controls ----
function along(step) {
  const column = numbers(axes().x), front = [...run.rows.front].sort((a, b) => column[a] - column[b]);
  if (front.length) select(front[(front.indexOf(state.selected) + step + front.length) % front.length]);
}
function connect() {
  for (const id of ["axis-x", "axis-y", "axis-colour"]) byId(id).onchange = () => draw("pareto");
  if (byId("every-loss")) byId("every-loss").onchange = () => redraw(LOSSES);
  document.addEventListener("click", ({target}) => {
    const shown = target.closest("[data-show]"), saved = target.closest("[data-svg]")?.dataset.svg;
    if (shown) select(Number(shown.dataset.show));
    if (saved && stale.has(saved)) draw(saved);
    if (saved) Plotly.downloadImage(byId(`plot-${saved}`), {format: "svg", filename: saved});
  });
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") mark([]); });
  const turn = (pages) => () => { state.page += pages; fillTable(); };
  const clicks = {clear: () => mark([]), home: () => select(run.recommended), previous: () => along(-1), next: () => along(1),
    "page-back": turn(-1), "page-on": turn(1), highlight: () => mark(chosenRows()), copy};
  for (const [id, act] of Object.entries(clicks)) byId(id).onclick = act;
  byId("home").disabled = run.recommended < 0;
  for (const id of ["filter", "which"]) byId(id).oninput = () => { state.page = 0; fillTable(); };
  dark.onchange = () => redraw(plots);
  if (byId("quantity")) byId("quantity").onchange = () => {
    byId("levels").textContent = run.drills[byId("quantity").value].levels;
    ["icicle", "bars"].forEach(draw);
  };
  if (byId("map-colour")) {
    byId("map-colour").onchange = () => draw("map");
    byId("map-count").oninput = () => { state.mapCount = Number(byId("map-count").value); draw("map"); };
  }
}
connect();
tableHead();
describe();
watch();
