// Links the views: one selected design, one set of highlighted designs, the same in every view.
"use strict";
// ---- drawing ----
const DRAWN_AT_ONCE = 2000;
const LOSSES = ["pareto", "share"], everything = () => byId("everything").checked;
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
    const {x, y} = axes(), axis = everything() ? "wholeAxis" : "axis";
    Object.assign(layout, {xaxis: {...layout.xaxis, ...run.specs[x][axis]}, yaxis: {...layout.yaxis, ...run.specs[y][axis]}, uirevision: `${x} ${y} ${axis}`});
  } else if (LOSSES.includes(name) && everything()) Object.assign(layout, {yaxis: {...layout.yaxis, range: null, autorange: true}, uirevision: "everything"});
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
  if (name === "pareto" && spec.data.length) finishPareto(div);
  bound = true;
  stale.delete(name);
  if (!first) return;
  // Zooming and panning are for a pointer: to the keyboard each figure's tools are only in the way.
  const untab = () => { for (const tool of div.querySelectorAll(".modebar-btn")) tool.tabIndex = -1; };
  div.on("plotly_afterplot", untab);
  untab();
  if (CLICKED.includes(name)) listen(name, div);
}
// What a choice has made stale is drawn one figure a turn, nearest to the window first, so that
// the page stays responsive.
const stale = new Set();
let drawing = false;
function drawStale() {
  const away = (name) => { const box = byId(`plot-${name}`).getBoundingClientRect(); return Math.max(box.top - innerHeight, -box.bottom, 0); };
  const name = [...stale].sort((a, b) => away(a) - away(b))[0];
  document.documentElement.dataset.state = name ? "drawing" : "drawn";
  drawing = Boolean(name);
  if (name) { draw(name); setTimeout(drawStale, 0); }
}
function redraw(names) {
  for (const name of names) stale.add(name);
  if (!drawing) drawStale();
}
function listen(name, div) {
  if (name === "pareto") div.on("plotly_relayout", (change) => { if (Object.keys(change).some((key) => /range/.test(key))) finishPareto(div); });
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
  keepUrl();
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
    row.append(Object.assign(element("dt", run.specs[c].label), {title: run.specs[c].help}), element("dd", text + likeRecommended(c, i, " ≈ recommended"), text === MISSING ? "missing" : ""));
    return row;
  }));
  compareDesigns();
  fillTable();
}

// ---- one Tab stop for a group of controls, arrow keys inside it ----
const stops = (group) => [...group.querySelectorAll("a[href], button:not(:disabled)")].filter((one) => one.getClientRects().length);
function rove(group, at = null) {
  const all = stops(group), current = at ?? all.find((one) => one.tabIndex === 0 && one.dataset.roved) ?? all[0];
  for (const one of all) { one.tabIndex = one === current ? 0 : -1; one.dataset.roved = "yes"; }
}
function arrows(event) {
  const group = event.target.closest?.("[data-rove]"), all = group ? stops(group) : [], place = all.indexOf(event.target);
  const to = {ArrowRight: place + 1, ArrowDown: place + 1, ArrowLeft: place - 1, ArrowUp: place - 1, Home: 0, End: all.length - 1}[event.key];
  if (place < 0 || to === undefined) return;
  event.preventDefault();
  const next = all[(to + all.length) % all.length];
  rove(group, next);
  next.focus();
}
// What is wider than its place says that it scrolls, and the keyboard can reach it.
function showScrolling() {
  const check = (box) => {
    const wide = box.scrollWidth > box.clientWidth + 1;
    box.classList.toggle("scrolls", wide);
    box.classList.toggle("end", box.scrollLeft + box.clientWidth >= box.scrollWidth - 2);
    if (wide) box.tabIndex = 0; else box.removeAttribute("tabindex");
  };
  const observer = new ResizeObserver((entries) => entries.forEach(({target}) => check(target.closest("[data-scrolls]"))));
  for (const box of document.querySelectorAll("[data-scrolls]")) {
    observer.observe(box);
    observer.observe(box.firstElementChild);
    box.addEventListener("scroll", () => check(box), {passive: true});
    check(box);
  }
}

// ---- controls ----
function along(step) {
  const column = numbers(axes().x), front = [...run.rows.front].sort((a, b) => column[a] - column[b]);
  if (front.length) select(front[(front.indexOf(state.selected) + step + front.length) % front.length]);
}
function connect() {
  for (const id of ["axis-x", "axis-y", "axis-colour"]) byId(id).onchange = () => draw("pareto");
  byId("everything").onchange = () => redraw(LOSSES);
  document.addEventListener("click", ({target}) => {
    const shown = target.closest("[data-show]"), saved = target.closest("[data-svg]")?.dataset.svg;
    if (shown) select(Number(shown.dataset.show));
    if (saved && stale.has(saved)) draw(saved);
    if (saved) Plotly.downloadImage(byId(`plot-${saved}`), {format: "svg", filename: saved});
  });
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") mark([]); else arrows(event); });
  const turn = (pages) => () => { state.page += pages; fillTable(); };
  const clicks = {clear: () => mark([]), home: () => select(run.recommended), previous: () => along(-1), next: () => along(1),
    "page-back": turn(-1), "page-on": turn(1), highlight: () => mark(chosenRows()), copy, download, pin: () => pin(state.selected)};
  for (const [id, act] of Object.entries(clicks)) byId(id).onclick = act;
  byId("home").disabled = run.recommended < 0;
  for (const id of ["filter", "which"]) byId(id).oninput = () => { state.page = 0; fillTable(); keepUrl(); };
  byId("against").onchange = () => pin(Number(byId("against").value));
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
function downloads() {
  byId("downloads").append(...plots.map((name) => {
    const one = button(byId(`title-${name}`).textContent, "link", () => {});
    one.dataset.svg = name;
    return one;
  }));
}
connect();
tableHead();
downloads();
readUrl();
describe();
document.querySelectorAll("[data-rove]").forEach((group) => rove(group));
for (const name of plots) byId(`plot-${name}`).style.minHeight = `${specOf(name).layout.height || 150}px`;
showScrolling();
addEventListener("beforeprint", () => [...stale].forEach(draw));
// All figures at once, so that no capture of the page catches an empty one; those of a run of very
// many designs follow once the page can be used.
if (run.count <= DRAWN_AT_ONCE) plots.forEach(draw);
document.documentElement.dataset.ready = Math.round(performance.now());
redraw(plots.filter((name) => !byId(`plot-${name}`).data));
