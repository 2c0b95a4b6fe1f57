// Links the views: one selected design, one set of highlighted designs, the same in every view.
// The figures come from Python; this fills in their data from the columns, which travel once.
"use strict";
(() => {
const byId = (id) => document.getElementById(id);
const run = JSON.parse(byId("data").textContent);
const MISSING = "not computed", ACCENT = "#D55E00", ROWS_A_PAGE = 25, MOST_LINES = 500;

// ---- columns ----
function unpack(packed) {
  if (packed.codes) return packed.codes.map((code) => (code < 0 ? null : packed.texts[code]));
  const bytes = Uint8Array.from(atob(packed.numbers), (c) => c.charCodeAt(0));
  return new Float32Array(bytes.buffer);
}
const unpackAll = (table) => Object.fromEntries(Object.entries(table).map(([k, v]) => [k, unpack(v)]));
const columns = unpackAll(run.columns), experts = unpackAll(run.experts), layers = unpackAll(run.layers);
const nothing = new Float32Array(run.count).fill(NaN);
const numbers = (name) => (columns[name] instanceof Float32Array ? columns[name] : nothing);
const value = (name, i) => (columns[name] ? columns[name][i] : null);
const isMissing = (v) => v === null || v === undefined || Number.isNaN(v);
const all = Array.from({length: run.count}, (_, i) => i);
const term = (name) => run.terms[name] || name;
const state = {selected: run.selected, marked: new Set(), axes: null, sort: ["trial", 1], page: 0, mapCount: null};

// ---- numbers as text ----
function si(v, unit) {
  if (v === 0 || !Number.isFinite(v)) return `${v} ${unit}`.trim();
  const rounded = Number(v.toPrecision(3));
  const power = Math.max(-15, Math.min(12, 3 * Math.floor(Math.log10(Math.abs(rounded)) / 3 + 1e-9)));
  const prefix = {"-15": "f", "-12": "p", "-9": "n", "-6": "µ", "-3": "m", 0: "", 3: "k", 6: "M", 9: "G", 12: "T"}[power];
  return `${(rounded / 10 ** power).toPrecision(3)} ${prefix}${unit}`.trim();
}
function withError(v, error) {
  if (isMissing(error)) return `${short(v)} (standard error ${MISSING})`;
  if (error <= 0) return `${short(v)} ± 0`;
  const decimals = Math.max(0, Math.min(5, 1 - Math.floor(Math.log10(error))));
  return `${v.toFixed(decimals)} ± ${error.toFixed(decimals)}`;
}
const short = (v) => String(Number(v.toPrecision(4)));
function show(name, i, unit = true) {
  const v = value(name, i), spec = run.specs[name];
  if (isMissing(v)) return MISSING;
  if (typeof v === "string") return term(v);
  const scale = spec.kind === "percent" ? 100 : 1, suffix = unit && spec.unit ? ` ${spec.unit}` : "";
  if (spec.stderr) return withError(v * scale, (value(spec.stderr, i) ?? NaN) * scale) + suffix;
  if (spec.unit === "tokens/s") return Number(v.toPrecision(3)).toLocaleString("en") + suffix;
  if (spec.kind === "si") return si(v, unit ? spec.unit : "");
  if (spec.kind === "count") return v.toLocaleString("en", {maximumFractionDigits: 0}) + suffix;
  return short(v * scale) + suffix;
}
const nameOf = (i) => (i < 0 ? "no design" : value("reference_name", i) ?? `design ${value("trial", i)}`);
// Plotly reads a little HTML in labels, so whatever comes from the data is escaped.
const plain = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
function distinguishable(a, b, name) {
  const error = run.specs[name]?.stderr;
  const parts = [value(name, a), value(name, b), value(error, a), value(error, b)];
  return parts.some(isMissing) ? null : Math.abs(parts[0] - parts[1]) > 2 * Math.hypot(parts[2], parts[3]);
}

// ---- rows of each trace ----
const HOVER = ["technology", "tiles", "digital_expert_fraction", "placement_score", "delta_loss_nats", "accuracy",
  "energy_j_per_token", "throughput_tokens_per_s", "area_mm2", "reason"].filter((name) => columns[name]);
const hovers = [];
function hover(i) {
  return hovers[i] ??= `<b>${plain(nameOf(i))}</b><br>` + HOVER.filter((name) => name !== "reason" || value(name, i))
    .map((name) => `${plain(run.specs[name].label)}: ${plain(show(name, i))}`).join("<br>");
}
const complete = all.filter((i) => columns.state[i] === "complete");
const groups = {
  ruled_out: all.filter((i) => columns.state[i] === "ruled_out" || columns.state[i] === "failed"),
  behind: complete.filter((i) => !columns.on_front[i]),
  front: complete.filter((i) => columns.on_front[i]),
  reference: all.filter((i) => columns.state[i] === "reference"),
  knee: complete.filter((i) => columns.is_knee[i]),
};
function staircase(x, y) {
  const sx = run.specs[x].better === "higher" ? -1 : 1, sy = run.specs[y].better === "higher" ? -1 : 1;
  const cx = numbers(x), cy = numbers(y);
  let best = Infinity;
  return complete.filter((i) => Number.isFinite(cx[i]) && Number.isFinite(cy[i]))
    .sort((a, b) => sx * (cx[a] - cx[b]) || sy * (cy[a] - cy[b]))
    .filter((i) => sy * cy[i] < best && ((best = sy * cy[i]), true));
}
function rowsOf(name, x, y) {
  if (name === "stairs") return staircase(x, y);
  const rows = name.startsWith("score:")
    ? complete.filter((i) => (value("placement_score", i) ?? "none given") === name.slice(6)) : groups[name];
  const cx = numbers(x), cy = numbers(y);
  return rows.filter((i) => Number.isFinite(cx[i]) && Number.isFinite(cy[i]));
}
const pick = (name, rows) => rows.map((i) => numbers(name)[i]);
function errorBar(old, name, rows) {
  const spec = run.specs[name], look = {...old, type: "data", color: old?.color || "#8f98a3", thickness: 1.2, width: 3};
  if (spec.stderr && columns[spec.stderr]) return {...look, visible: true, array: pick(spec.stderr, rows)};
  if (!columns[`${name}_low`] || !columns[`${name}_high`]) return {visible: false};
  return {...look, visible: true, array: rows.map((i) => value(`${name}_high`, i) - value(name, i)),
    arrayminus: rows.map((i) => value(name, i) - value(`${name}_low`, i))};
}

// ---- figures: bind data to each trace by its meta ----
function bindPoints(trace, axes) {
  const meta = trace.meta, x = axes?.x || meta.x, y = axes?.y || meta.y;
  const rows = rowsOf(meta.rows, x, y), bound = {...trace, x: pick(x, rows), y: pick(y, rows), customdata: rows};
  if (meta.rows === "stairs") return {...bound, selectedpoints: null};
  bound.text = rows.map(hover);
  if (meta.rows === "reference") Object.assign(bound, {hovertext: bound.text, hovertemplate: "%{hovertext}<extra></extra>",
    text: rows.map((i) => plain(nameOf(i))), texttemplate: "%{text}"});
  if (meta.error) { bound.error_x = axes ? errorBar(trace.error_x, x, rows) : undefined; bound.error_y = errorBar(trace.error_y, y, rows); }
  if (meta.colour) {
    const scale = run.specs[axes.colour].colour, shown = pick(axes.colour, rows);
    bound.marker = {...trace.marker, ...scale, color: scale.log ? shown.map(Math.log10) : shown, showscale: meta.rows === (groups.front.length ? "front" : "behind")};
  }
  bound.selectedpoints = state.marked.size ? rows.flatMap((i, k) => (state.marked.has(i) ? [k] : [])) : null;
  bound.unselected = {marker: {opacity: 0.1}};
  return bound;
}
function ring(x, y) {
  const rows = [state.selected].filter((i) => i >= 0 && Number.isFinite(numbers(x)[i]) && Number.isFinite(numbers(y)[i]));
  return {type: "scatter", mode: "markers", name: "selected", x: pick(x, rows), y: pick(y, rows), hoverinfo: "skip", unselected: {marker: {opacity: 1}},
    marker: {symbol: "circle-open", size: 24, color: ACCENT, line: {width: 3}}};
}
function height(scale, i) {
  const v = value(scale.column, i);
  if (isMissing(v)) return NaN;
  if (scale.categories) return scale.categories.indexOf(v) / (scale.categories.length - 1);
  const f = scale.log ? Math.log : (u) => u, h = (f(v) - f(scale.low)) / (f(scale.high) - f(scale.low));
  return scale.flip ? 1 - h : h;
}
function polylines(trace, rows) {
  const x = [], y = [], customdata = [], text = [];
  for (const i of rows) {
    run.scales.forEach((scale, place) => { x.push(place); y.push(height(scale, i)); });
    x.push(NaN); y.push(NaN);
    run.scales.concat(0).forEach(() => { customdata.push(i); text.push(hover(i)); });
  }
  return {...trace, type: "scatter", mode: "lines", x, y, customdata, text, hovertemplate: "%{text}<extra></extra>"};
}
function bindParallel(spec) {
  if (!spec.data.length) return spec.data;
  const marked = complete.filter((i) => state.marked.has(i));
  const traces = spec.data.map((trace) => polylines({...trace, opacity: marked.length ? 0.12 : trace.opacity}, trace.meta.lines === "behind" ? [] : groups[trace.meta.lines]));
  // The crowd behind is for the eye only: beyond some hundred lines more of them show nothing new.
  const crowd = groups.behind, step = Math.ceil(crowd.length / MOST_LINES);
  const drawn = crowd.filter((_, k) => k % step === 0), counted = drawn.length < crowd.length ? ` (${drawn.length} of ${crowd.length} drawn)` : "";
  traces[0] = {...polylines({...traces[0]}, drawn), name: `simulated${counted}`, hoverinfo: "skip", hovertemplate: "", text: null};
  if (marked.length) traces.push(polylines({name: "highlighted", line: {color: "#009E73", width: 1.6}, opacity: 0.9}, marked));
  if (complete.includes(state.selected)) traces.push(polylines({name: "selected", line: {color: ACCENT, width: 3.5, dash: "dot"}}, [state.selected]));
  return traces;
}
const sum = (names, i) => names.reduce((total, name) => total + (value(name, i) || 0), 0);
function bindParts(trace) {
  const meta = trace.meta, i = state.selected;
  if (meta.column || meta.share) {
    const rows = [...new Set([i, ...groups.reference])], names = rows.map((k) => plain(nameOf(k)).replace(", ", ",<br>"));
    if (meta.column) return {...trace, x: pick(meta.column, rows), y: names};
    const has = (k) => value("tiles", k) > 0;
    return {...trace, x: rows.map((k) => (has(k) ? value(meta.share, k) : null)), y: names,
      text: meta.tiles ? rows.map((k) => (has(k) ? `${show("tiles", k)} tiles of ${show("tiers", k)} tiers` : "")) : null};
  }
  if (meta.timeline) {
    const x = meta.timeline.map((name) => value(name, i) || 0), total = x.reduce((a, b) => a + b, 0);
    let end = 0;
    return {...trace, x, base: x.map((v) => (end += v) - v), text: x.map((v) => `${si(v, "s")} (${Math.round((100 * v) / total)}%)`)};
  }
  if (meta.layers) return {...trace, ...layerNodes(i, meta)};
  const values = meta.columns.map((names) => sum(names, i));
  return {...trace, values, text: values.map((v) => si(v, meta.unit))};
}
// ---- one step over the layers ----
const layerRows = (i) => Array.from(layers.trial || [], (_, k) => k).filter((k) => layers.trial[k] === value("trial", i));
const interval = (i) => run.stepTokens / value("throughput_tokens_per_s", i);
function stepBars(i) {
  const bars = [], rows = layerRows(i);
  let now = 0;
  for (const first of new Set(rows.map((k) => layers.first_layer[k]))) {
    const stretch = rows.filter((k) => layers.first_layer[k] === first);
    for (let layer = first; layer <= layers.last_layer[stretch[0]]; layer += 1) {
      for (const k of stretch) bars.push({module: layers.module[k], resource: layers.resource[k], layer, start: now + layers.start_s[k], busy: layers.busy_s[k]});
      now += layers.layer_s[stretch[0]];
    }
  }
  return bars;
}
function bindStep(spec) {
  const bars = stepBars(state.selected), pace = interval(state.selected);
  paceWords(bars, pace);
  return spec.data.map((trace) => {
    const own = trace.meta.stage === "next" ? [1, 2, 3].flatMap((k) => bars.map((b) => ({...b, start: b.start + k * pace}))) : bars.filter((b) => b.module === trace.meta.stage);
    return {...trace, x: own.map((b) => b.busy), base: own.map((b) => b.start), y: own.map((b) => b.layer + (b.resource === "tiles" ? 0.21 : -0.21)), customdata: own.map((b) => b.resource)};
  });
}
function paceWords(bars, pace) {
  const on = bars.filter((b) => b.resource === "accelerator").reduce((total, b) => total + b.busy, 0);
  const latency = value("latency_s_per_token", state.selected), sets = on > 0.999 * pace ? "the accelerator, which all layers share," : "the tiles of the busiest layer";
  byId("pace").textContent = bars.length ? `A step takes ${si(latency, "s")} from end to end, of which the accelerator works ${si(on, "s")}. The next step can enter after ${si(pace, "s")}: ${sets} sets the pace, with ${(latency / pace).toPrecision(2)} steps under way at a time.`
    : "Layers are kept for designs on the front and for the references: select one of them.";
}
function layerNodes(i, meta) {
  const nodes = [], rows = layerRows(i);
  if (!rows.length) return {ids: [], labels: [], parents: [], values: [], text: []};
  const last = Math.max(...rows.map((k) => layers.last_layer[k])) - 1;
  const add = (id, label, parent, module, v) => nodes.push({id, label, parent, module, v});
  const parts = Object.keys(layers).filter((name) => name.startsWith("energy_")), still = value("energy_module_static_j_per_token", i);
  if (still > 0) add("static", "static power", "total", "", still);
  for (const first of new Set(rows.map((k) => layers.first_layer[k]))) {
    const stretch = rows.filter((k) => layers.first_layer[k] === first), end = layers.last_layer[stretch[0]];
    const spent = (k) => parts.map((name) => [name, layers[name][k]]).filter(([, v]) => v > 0), total = (list) => list.reduce((a, [, v]) => a + v, 0);
    const name = end < 0 ? "embedding" : first > last ? "after the layers" : first === end ? `layer ${first}` : `layers ${first} to ${end}`;
    add(String(first), name, "total", "", total(stretch.flatMap(spent)));
    for (const k of stretch.filter((r) => spent(r).length)) {
      const id = `${first}/${layers.module[k]}/${layers.resource[k]}`;
      add(id, term(layers.module[k]), String(first), layers.module[k], total(spent(k)));
      for (const [part, v] of spent(k)) add(`${id}/${part}`, term(part.slice(7, -12)), id, layers.module[k], v);
    }
  }
  add("total", "total", "", "", nodes.filter((n) => n.parent === "total").reduce((a, n) => a + n.v, 0));
  const kept = nodes.filter((n) => n.v > 0);
  return {ids: kept.map((n) => n.id), labels: kept.map((n) => plain(n.label)), parents: kept.map((n) => n.parent), values: kept.map((n) => n.v),
    text: kept.map((n) => si(n.v, meta.unit)), marker: {colors: kept.map((n) => meta.layers[n.module] || (n.parent ? "#b9c0c9" : "#8c8c8c")), line: {width: 1, color: "rgba(255,255,255,0.6)"}}};
}
function bind(name, spec) {
  if (name === "step") return bindStep(spec);
  if (name === "pareto") return [...spec.data.map((t) => bindPoints(t, state.axes)), ring(state.axes.x, state.axes.y)];
  if (name === "parallel") return bindParallel(spec);
  if (name === "share") return spec.data.length ? [...spec.data.map((t) => bindPoints(t)), ring(spec.data[0].meta.x, spec.data[0].meta.y)] : [];
  if (name === "map") return bindMap(spec);
  if (name === "coverage") return bindOrders(spec);
  return spec.data.map((trace) => (trace.meta ? bindParts(trace) : trace));
}

// ---- placement ----
const rankColumn = () => `rank_${value("placement_score", state.selected)}_${value("placement_scope", state.selected)}`;
function digitalCount() {
  const n = value("digital_experts", state.selected);
  return isMissing(n) ? null : n;
}
function isDigital(count) {
  const rank = experts[rankColumn()];
  if (count === null) return null;
  if (count <= 0 || count >= run.expertCount) return () => count > 0;
  return rank ? (k) => rank[k] < count : null;
}
function bindMap(spec) {
  if (!spec.data.length) return [];
  const colour = byId("map-colour").value, values = experts[colour], own = isDigital(digitalCount());
  const digital = isDigital(state.mapCount ?? digitalCount()), finite = Array.from(values).filter(Number.isFinite);
  const low = Math.min(...finite), high = Math.max(...finite);
  const place = (list) => new Map([...new Set(list)].sort((a, b) => a - b).map((v, k) => [v, k]));
  const rows = place(experts.layer), cols = place(experts.expert), moved = [];
  const traces = spec.data.map((trace) => {
    const z = [...rows].map(() => new Array(cols.size).fill(null));
    values.forEach((v, k) => {
      const here = digital ? digital(k) : false;
      if (Number.isFinite(v) && here === (trace.meta.placement === "digital")) z[rows.get(experts.layer[k])][cols.get(experts.expert[k])] = v;
      if (digital && own && here !== own(k) && trace.meta.placement === "digital") moved.push(k);
    });
    const name = digital ? trace.meta.placement : "placement unknown";
    return {...trace, x: [...cols.keys()], y: [...rows.keys()], z, zmin: low, zmax: high > low ? high : low + 1,
      hovertemplate: `layer %{y}, expert %{x}: ${name}<br>${plain(term(colour))} %{z:.4~g}<extra></extra>`};
  });
  traces.push({type: "scatter", mode: "markers", showlegend: false, hoverinfo: "skip", x: moved.map((k) => experts.expert[k]),
    y: moved.map((k) => experts.layer[k]), marker: {symbol: "square-open", size: 9, color: ACCENT, line: {width: 2}}});
  mapWords(digital, moved.length);
  return traces;
}
function mapWords(digital, moved) {
  const own = digitalCount(), count = state.mapCount ?? own, many = (n) => n.toLocaleString("en");
  byId("map-count").value = count ?? 0;
  byId("map-count").disabled = !experts[rankColumn()];
  byId("map-output").textContent = count === null ? MISSING : `${many(count)} of ${many(run.expertCount)}`;
  byId("map-words").textContent = !digital ? "The run does not say which."
    : moved ? `At ${many(count)} digital experts instead of ${many(own)}, the ${many(moved)} outlined ones move.`
    : "Blue is digital, orange analog; move the slider to see which experts a larger or smaller digital share moves.";
}

function bindOrders(spec) {
  const scope = value("placement_scope", state.selected) === "per_layer" ? "_per_layer" : "_global";
  return spec.data.map((t) => ({...t, visible: t.meta.order.endsWith(scope), line: {...t.line, width: t.meta.order === rankColumn() ? 4 : 1.4}}));
}

// ---- drawing ----
const dark = matchMedia("(prefers-color-scheme: dark)");
const specOf = (name) => run.figures[name] || run.figures[run.breakdowns[byId("quantity")?.value]?.[name === "icicle" ? "figure" : "bars"]];
const plots = [...document.querySelectorAll(".plot")].map((div) => div.id.slice(5)).filter((name) => specOf(name));
const LINKED = ["pareto", "parallel", "share"], OF_SELECTED = ["icicle", "bars", "step", "timeline", "utilisation", "map", "coverage"];
function layoutOf(name, spec) {
  const layout = {...spec.layout, template: run.templates[dark.matches ? "dark" : "light"], uirevision: "kept", selections: [], autosize: true,
    // A box is gone once its designs are marked: a revision that never repeats keeps Plotly from restoring it.
    selectionrevision: performance.now()};
  const coarse = matchMedia("(pointer: coarse)").matches;
  // A finger that scrolls the page must not start a selection.
  layout.dragmode = coarse ? false : LINKED.includes(name) ? "select" : "zoom";
  if (name === "pareto") {
    const fix = (axis, key) => ({...axis, ...run.specs[key].axis});
    Object.assign(layout, {xaxis: fix(layout.xaxis, state.axes.x), yaxis: fix(layout.yaxis, state.axes.y),
      uirevision: JSON.stringify(state.axes)});
  }
  if (name === "timeline") layout.xaxis = {...layout.xaxis, range: [0, 1.12 * (value("latency_s_per_token", state.selected) || 1)]};
  if (name === "coverage" && layout.shapes && digitalCount() !== null) layout.shapes = [{...layout.shapes[0], x0: digitalCount() / run.expertCount, x1: digitalCount() / run.expertCount}];
  if (narrow() && layout.legend?.orientation !== "v") layout.margin = {l: 48, r: 8, t: 70, b: 48, ...(layout.margin?.t === 8 ? layout.margin : {})};
  return layout;
}
const narrow = () => innerWidth < 700;
// On a narrow page a scale beside the figure would take its room: it moves below.
function fitted(trace) {
  const below = (bar) => ({...bar, orientation: "h", x: 0.5, xanchor: "center", y: -0.16, yanchor: "top", title: {...bar.title, side: "bottom"}});
  if (trace.marker?.colorbar) return {...trace, marker: {...trace.marker, colorbar: below(trace.marker.colorbar)}};
  return trace.colorbar ? {...trace, showscale: trace.meta.placement === "analog", colorbar: below(trace.colorbar)} : trace;
}
const config = (name) => ({displaylogo: false, responsive: true, toImageButtonOptions: {format: "svg", filename: name},
  plotlyServerURL: "", modeBarButtonsToRemove: ["sendChartToCloud", "toImage", "autoScale2d", "zoomIn2d", "zoomOut2d", ...(name === "parallel" ? ["lasso2d", "zoom2d", "pan2d", "resetScale2d"] : [])]});
let bound = true;
function draw(name) {
  const spec = specOf(name), div = byId(`plot-${name}`);
  if (!spec) return;
  const first = !div.data, began = performance.now();
  const traces = bind(name, spec);
  bound = false;
  Plotly.react(div, narrow() ? traces.map(fitted) : traces, layoutOf(name, spec), config(name));
  bound = true;
  performance.measure(name, {start: began});
  stale.delete(name);
  if (first && LINKED.includes(name)) listen(name, div);
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
    const i = event.points.map((p) => p.customdata).find((c) => typeof c === "number");
    if (i !== undefined) select(i);
  });
  div.on("plotly_selected", (event) => {
    // Plotly tells of a selection also while it draws one that the page set: nobody chose that.
    if (!event || !bound) return;
    mark(name === "parallel" ? throughBox(event.range) : event.points.map((p) => p.customdata));
  });
}
function throughBox(range) {
  if (!range) return [];
  const [x0, x1] = [...range.x].sort((a, b) => a - b), [y0, y1] = [...range.y].sort((a, b) => a - b);
  const crossed = run.scales.filter((_, place) => place >= x0 && place <= x1);
  return crossed.length ? complete.filter((i) => crossed.every((s) => height(s, i) >= y0 && height(s, i) <= y1)) : [];
}

// ---- selection ----
function select(i) {
  if (i < 0) return;
  state.selected = i;
  state.mapCount = null;
  describe();
  redraw(plots.filter((name) => LINKED.includes(name) || OF_SELECTED.includes(name)));
}
function mark(rows) {
  state.marked = new Set(rows.filter((i) => typeof i === "number"));
  describe();
  redraw(plots.filter((name) => LINKED.includes(name)));
}
const CARD = ["state", "technology", "tile_rows", "tile_cols", "tiers", "tiles", "adc_bits", "dac_bits", "columns_per_adc",
  "digital_expert_fraction", "digital_experts", "placement_score", "placement_scope", "analog_modules", "mac_units", "sram_mib", "hbm_stacks", "delta_loss_nats", "accuracy", "top1",
  "energy_j_per_token", "throughput_tokens_per_s", "latency_s_per_token", "area_mm2", "power_w", "utilisation", "occupancy", "reason", "accuracy_source"];
function element(tag, text, className) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}
function describe() {
  const i = state.selected, name = nameOf(i);
  byId("selected-name").textContent = `Selected: ${name}${i === run.recommended && i >= 0 ? " (recommended)" : ""}`;
  byId("marked-count").textContent = state.marked.size ? `${state.marked.size} highlighted` : "";
  const used = ["utilisation", "occupancy"].map((c) => (columns[c] && !isMissing(value(c, i)) ? show(c, i) : null));
  byId("used").textContent = (used[0] ? ` Its weights fill ${used[0]} of the cells in the blocks that hold them` : "") + (used[1] ? `, ${used[1]} of all cells of all tiles and tiers.` : used[0] ? "." : "");
  for (const span of document.querySelectorAll(".selected-label")) span.textContent = name;
  byId("card").replaceChildren(...(i < 0 ? [] : CARD.filter((c) => columns[c] && !(c === "reason" && !value(c, i)))).map((c) => {
    const row = element("div"), text = show(c, i);
    const alike = run.specs[c].stderr && i !== run.recommended && run.recommended >= 0 && distinguishable(i, run.recommended, c) === false;
    row.append(element("dt", run.specs[c].label), element("dd", text + (alike ? " ≈ recommended" : ""), text === MISSING ? "missing" : ""));
    return row;
  }));
  fillTable();
}

// ---- table ----
function resolve(name) {
  const lower = name.toLowerCase(), names = Object.keys(columns);
  return names.includes(lower) ? lower : names.find((c) => c.startsWith(lower));
}
const COMPARE = {"<": (a, b) => a < b, ">": (a, b) => a > b, "<=": (a, b) => a <= b, ">=": (a, b) => a >= b, "=": (a, b) => a === b, "!=": (a, b) => a !== b};
function tests() {
  const unknown = [];
  const made = byId("filter").value.trim().split(/\s+/).filter(Boolean).map((word) => {
    const parts = /^([\w.]+)(<=|>=|!=|<|>|=)(.+)$/.exec(word);
    if (!parts) return (i) => rowText(i).includes(word.toLowerCase());
    const column = resolve(parts[1]), wanted = parts[3];
    if (!column) { unknown.push(parts[1]); return () => true; }
    if (columns[column] instanceof Float32Array) return (i) => !isMissing(value(column, i)) && COMPARE[parts[2]](Number(value(column, i).toPrecision(6)), Number(wanted));
    return (i) => !isMissing(value(column, i)) && COMPARE[parts[2]](value(column, i).toLowerCase(), wanted.toLowerCase());
  });
  byId("filter-words").textContent = unknown.length ? `No column starts with ${unknown.join(", ")}; columns are ${Object.keys(columns).slice(0, 30).join(", ")} …` : "";
  return made;
}
const texts = [];
const textColumns = Object.keys(columns).filter((name) => !(columns[name] instanceof Float32Array));
const rowText = (i) => (texts[i] ??= [nameOf(i), ...textColumns.map((name) => value(name, i) ?? "")].join(" ").toLowerCase());
const WHICH = {all: () => true, front: (i) => columns.on_front[i] || columns.state[i] === "reference", complete: (i) => columns.state[i] === "complete",
  ruled_out: (i) => columns.state[i] === "ruled_out", marked: (i) => state.marked.has(i)};
function chosenRows() {
  const [name, sign] = state.sort, conditions = [WHICH[byId("which").value], ...tests()];
  return all.filter((i) => conditions.every((test) => test(i))).sort((a, b) => {
    const va = value(name, a), vb = value(name, b);
    // Missing values come last whichever way the column is sorted.
    if (isMissing(va) || isMissing(vb)) return isMissing(va) - isMissing(vb) || a - b;
    return sign * (typeof va === "string" ? va.localeCompare(vb) : va - vb) || a - b;
  });
}
function cell(name, i) {
  const text = show(name, i, false), td = element("td", text === MISSING ? "–" : text, columns[name] instanceof Float32Array ? "n" : "");
  if (text === MISSING) { td.classList.add("missing"); td.title = MISSING; td.setAttribute("aria-label", MISSING); }
  else if (columns[name] instanceof Float32Array === false) td.title = text;
  if (run.specs[name].stderr && i !== state.selected && state.selected >= 0 && distinguishable(i, state.selected, name) === false) td.textContent += " ≈";
  return td;
}
function fillTable() {
  const rows = chosenRows(), pages = Math.max(1, Math.ceil(rows.length / ROWS_A_PAGE));
  state.page = Math.max(0, Math.min(state.page, pages - 1));
  byId("rows").replaceChildren(...rows.slice(state.page * ROWS_A_PAGE, (state.page + 1) * ROWS_A_PAGE).map((i) => {
    const tr = element("tr", undefined, `${i === state.selected ? "selected" : ""} ${state.marked.has(i) ? "marked" : ""}`.trim());
    tr.append(...run.table.map((name) => cell(name, i)));
    const button = element("button", nameOf(i), "link");
    button.type = "button";
    button.dataset.show = i;
    tr.firstChild.replaceChildren(button);
    tr.firstChild.classList.remove("n");
    return tr;
  }));
  byId("page-words").textContent = `${rows.length.toLocaleString("en")} designs, page ${state.page + 1} of ${pages}`;
  for (const th of byId("head").children) th.setAttribute("aria-sort", th.dataset.name !== state.sort[0] ? "none" : state.sort[1] > 0 ? "ascending" : "descending");
}
function tableHead() {
  byId("head").replaceChildren(...run.table.map((name) => {
    const th = element("th"), spec = run.specs[name], button = element("button", spec.unit && spec.unit !== "bit" ? `${spec.label} (${spec.unit})` : spec.label);
    th.scope = "col";
    th.dataset.name = name;
    button.type = "button";
    button.onclick = () => { state.sort = [name, state.sort[0] === name ? -state.sort[1] : 1]; fillTable(); };
    th.append(button);
    return th;
  }));
}
function csv() {
  const names = Object.keys(columns);
  const quote = (v) => {
    if (isMissing(v)) return "";
    if (typeof v === "number") return String(Number(v.toPrecision(7)));
    // A spreadsheet runs text that starts like a formula.
    const text = /^[=+\-@\t]/.test(v) ? `'${v}` : v;
    return /[",\n\r]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text;
  };
  return [names.join(","), ...chosenRows().map((i) => names.map((name) => quote(value(name, i))).join(","))].join("\n") + "\n";
}
async function copy() {
  const text = csv(), lines = text.split("\n").length - 2;
  try { await navigator.clipboard.writeText(text); } catch {
    const area = document.body.appendChild(element("textarea", text));
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  byId("filter-words").textContent = `Copied ${lines.toLocaleString("en")} designs as CSV.`;
}

// ---- controls ----
function along(step) {
  const column = numbers(state.axes.x), front = [...groups.front].sort((a, b) => column[a] - column[b]);
  if (front.length) select(front[(front.indexOf(state.selected) + step + front.length) % front.length]);
}
function connect() {
  const pareto = run.figures.pareto.data.find((trace) => trace.meta.colour)?.meta;
  state.axes = {x: pareto.x, y: pareto.y, colour: pareto.colour};
  for (const [id, key] of [["axis-x", "x"], ["axis-y", "y"], ["axis-colour", "colour"]]) {
    for (const option of byId(id).options) option.textContent = run.specs[option.value].label;
    byId(id).value = state.axes[key];
    byId(id).onchange = () => { state.axes = {...state.axes, [key]: byId(id).value}; draw("pareto"); };
  }
  document.addEventListener("click", (event) => {
    const shown = event.target.closest("[data-show]"), saved = event.target.closest("[data-svg]");
    if (shown) select(Number(shown.dataset.show));
    if (saved && stale.has(saved.dataset.svg)) draw(saved.dataset.svg);
    if (saved) Plotly.downloadImage(byId(`plot-${saved.dataset.svg}`), {format: "svg", filename: saved.dataset.svg});
  });
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") mark([]); });
  byId("clear").onclick = () => mark([]);
  byId("home").onclick = () => select(run.recommended);
  byId("previous").onclick = () => along(-1);
  byId("next").onclick = () => along(1);
  byId("home").disabled = run.recommended < 0;
  for (const id of ["filter", "which"]) byId(id).oninput = () => { state.page = 0; fillTable(); };
  byId("page-back").onclick = () => { state.page -= 1; fillTable(); };
  byId("page-on").onclick = () => { state.page += 1; fillTable(); };
  byId("highlight").onclick = () => mark(chosenRows());
  byId("copy").onclick = copy;
  dark.onchange = () => redraw(plots);
  if (byId("quantity")) byId("quantity").onchange = () => {
    byId("levels").textContent = run.breakdowns[byId("quantity").value].levels;
    draw("icicle");
    draw("bars");
  };
  if (byId("map-colour")) {
    if (experts.load) byId("map-colour").value = "load";
    byId("map-colour").onchange = () => draw("map");
    byId("map-count").oninput = () => { state.mapCount = Number(byId("map-count").value); draw("map"); };
  }
}
connect();
tableHead();
describe();
watch();
})();
