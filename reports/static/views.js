// The data of each figure: figures, words and colours come from Python, what they show from the columns.
"use strict";
// ---- designs as points ----
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
  return rows.filter((i) => Number.isFinite(numbers(x)[i]) && Number.isFinite(numbers(y)[i]));
}
const pick = (name, rows) => rows.map((i) => numbers(name)[i]);
function errorBar(look, name, rows) {
  const spec = run.specs[name], low = columns[`${name}_low`], high = columns[`${name}_high`];
  const bar = {thickness: 1.2, width: 3, color: look?.color || "#8f98a3", type: "data", visible: true};
  if (spec.stderr && columns[spec.stderr]) return {...bar, array: pick(spec.stderr, rows)};
  if (!low || !high) return {visible: false};
  return {...bar, array: rows.map((i) => high[i] - value(name, i)), arrayminus: rows.map((i) => value(name, i) - low[i])};
}
function bindPoints(trace, axes) {
  const meta = trace.meta, x = axes?.x || meta.x, y = axes?.y || meta.y;
  const rows = rowsOf(meta.rows, x, y), bound = {...trace, x: pick(x, rows), y: pick(y, rows), customdata: rows};
  if (meta.rows === "stairs") return {...bound, selectedpoints: null};
  bound.hovertext = rows.map(hover);
  bound.text = meta.rows === "reference" ? rows.map((i) => plain(nameOf(i))) : null;
  Object.assign(bound, {texttemplate: bound.text ? "%{text}" : "", hovertemplate: "%{hovertext}<extra></extra>"});
  if (meta.error) bound.error_y = errorBar(trace.error_y, y, rows);
  if (meta.error && axes) bound.error_x = errorBar(trace.error_x, x, rows);
  if (meta.colour) {
    const scale = run.specs[axes.colour].colour, shown = pick(axes.colour, rows);
    bound.marker = {...trace.marker, ...scale, color: scale.log ? shown.map(Math.log10) : shown,
      showscale: meta.rows === (groups.front.length ? "front" : "behind")};
  }
  bound.selectedpoints = state.marked.size ? rows.flatMap((i, k) => (state.marked.has(i) ? [k] : [])) : null;
  return {...bound, unselected: {marker: {opacity: 0.1}}};
}
function withRing(traces, x, y) {
  const rows = [state.selected].filter((i) => i >= 0 && Number.isFinite(numbers(x)[i]) && Number.isFinite(numbers(y)[i]));
  return [...traces, {type: "scatter", mode: "markers", name: "selected", x: pick(x, rows), y: pick(y, rows),
    hoverinfo: "skip", unselected: {marker: {opacity: 1}},
    marker: {symbol: "circle-open", size: 24, color: ACCENT, line: {width: 3}}}];
}
// Designs that the area budget would have bought: the selected one, if it is among them, stands out.
function bindBudget(trace) {
  if (!trace.customdata) return trace;
  const here = trace.customdata.flatMap((trial, k) => (trial === value("trial", state.selected) ? [k] : []));
  return {...trace, selectedpoints: here.length ? here : null, unselected: {marker: {opacity: 1}},
    selected: {marker: {color: ACCENT, size: 14}}};
}

// ---- designs as lines ----
function height(scale, i) {
  const v = value(scale.column, i), f = scale.log ? Math.log : (u) => u;
  if (isMissing(v)) return NaN;
  if (scale.categories) return scale.categories.indexOf(v) / (scale.categories.length - 1);
  const h = (f(v) - f(scale.low)) / (f(scale.high) - f(scale.low));
  return scale.flip ? 1 - h : h;
}
function polylines(look, rows) {
  const along = (of, end) => rows.flatMap((i) => [...run.scales.map((scale, place) => of(scale, place, i)), end(i)]);
  return {type: "scatter", mode: "lines", x: along((_, place) => place, () => NaN), y: along((s, _, i) => height(s, i), () => NaN),
    customdata: along((_, place, i) => i, (i) => i), text: along((_, place, i) => hover(i), hover),
    hovertemplate: "%{text}<extra></extra>", ...look};
}
function bindParallel({data}) {
  // The crowd behind is for the eye only: beyond some hundred lines more of them show nothing new.
  const crowd = groups.behind, step = Math.ceil(crowd.length / MOST_LINES), drawn = crowd.filter((_, k) => k % step === 0);
  const marked = complete.filter((i) => state.marked.has(i));
  const traces = data.map((trace) => trace.meta.lines === "behind"
    ? {...polylines(trace, drawn), hoverinfo: "skip", hovertemplate: "", text: null,
      name: `simulated${drawn.length < crowd.length ? ` (${drawn.length} of ${crowd.length} drawn)` : ""}`}
    : polylines({...trace, opacity: marked.length ? 0.12 : trace.opacity}, groups[trace.meta.lines]));
  if (marked.length) traces.push(polylines({name: "highlighted", line: {color: "#009E73", width: 1.6}, opacity: 0.9}, marked));
  if (data.length && complete.includes(state.selected)) {
    traces.push(polylines({name: "selected", line: {color: ACCENT, width: 3.5, dash: "dot"}}, [state.selected]));
  }
  return traces;
}

// ---- parts of the selected design ----
const layerRows = (i) => Array.from(layers.trial || [], (_, k) => k).filter((k) => layers.trial[k] === value("trial", i));
function leaves(drill, i) {
  const own = drill.leaves
    ? drill.leaves.map(({path, part, column}) => [path, part, value(column, i)])
    : layerRows(i).flatMap((k) => Object.entries(drill.layers).map(([name, column]) =>
      [[...new Set([layers.stretch[k], term(layers.module[k]), name])], layers.module[k], layers[column][k]]));
  return own.filter(([, , v]) => v > 0);
}
function bindIcicle(trace) {
  const drill = run.drills[trace.meta.drill], nodes = new Map();
  for (const [path, part, v] of leaves(drill, state.selected)) {
    ["total", ...path].forEach((label, depth, whole) => {
      const id = whole.slice(0, depth + 1).join("/"), parent = whole.slice(0, depth).join("/");
      const node = nodes.get(id) ?? {id, label, parent, v: 0, part};
      nodes.set(id, Object.assign(node, {v: node.v + v, part: node.part === part ? part : ""}));
    });
  }
  const list = [...nodes.values()], of = (f) => list.map(f);
  return {...trace, ids: of((n) => n.id), labels: of((n) => plain(n.label)), parents: of((n) => n.parent), values: of((n) => n.v),
    text: of((n) => si(n.v, trace.meta.unit)), marker: {...trace.marker, colors: of((n) => (n.parent ? drill.colours[n.part] || BRANCH : GROUND))}};
}
function bindBars(data) {
  const rows = [...new Set([state.selected, ...groups.reference])], names = rows.map((i) => plain(nameOf(i)));
  if (data[0]?.meta.share) {
    const has = (i) => value("tiles", i) > 0;
    return data.map((trace) => ({...trace, y: names, x: rows.map((i) => (has(i) ? value(trace.meta.share, i) : null)),
      text: trace.meta.tiles ? rows.map((i) => (has(i) ? `${show("tiles", i)} tiles of ${show("tiers", i)} tiers` : "")) : null}));
  }
  const parts = rows.map((i) => leaves(run.drills[data[0]?.meta.drill] || {leaves: []}, i));
  const sum = (own, part) => own.reduce((total, leaf) => total + (leaf[1] === part ? leaf[2] : 0), 0);
  return data.map((trace) => ({...trace, y: names, x: parts.map((own) => sum(own, trace.meta.part))}));
}
function bindTimeline(trace) {
  const stages = trace.meta.timeline.map((s) => ({...s, v: value(s.column, state.selected) || 0})).filter((s) => s.v > 0);
  const total = stages.reduce((t, s) => t + s.v, 0);
  let end = 0;
  return {...trace, x: stages.map((s) => s.v), base: stages.map((s) => (end += s.v) - s.v),
    y: stages.map((s) => `${plain(s.name)}<br>${si(s.v, "s")} (${Math.round((100 * s.v) / total)} %)`)};
}
function bindStep({data}) {
  const pace = run.stepTokens / value("throughput_tokens_per_s", state.selected);
  const bars = layerRows(state.selected).filter((k) => layers.busy_s[k] > 0).flatMap((k) =>
    Array.from({length: layers.last_layer[k] - layers.first_layer[k] + 1}, (_, n) => ({k, layer: layers.first_layer[k] + n,
      start: layers.begin_s[k] + n * layers.layer_s[k]})));
  byId("pace").textContent = run.pace[state.selected] ?? run.notKept;
  return data.map((trace) => {
    const own = trace.meta.stage === "next" ? [1, 2, 3].flatMap((n) => bars.map((b) => ({...b, start: b.start + n * pace})))
      : bars.filter((b) => layers.module[b.k] === trace.meta.stage);
    return {...trace, x: own.map((b) => layers.busy_s[b.k]), base: own.map((b) => b.start),
      y: own.map((b) => b.layer + (layers.resource[b.k] === "tiles" ? 0.21 : -0.21)), customdata: own.map((b) => layers.resource[b.k])};
  });
}

// ---- placement ----
const rankColumn = () => `rank_${value("placement_score", state.selected)}_${value("placement_scope", state.selected)}`;
const digitalCount = () => (isMissing(value("digital_experts", state.selected)) ? null : value("digital_experts", state.selected));
function isDigital(count) {
  const rank = experts[rankColumn()];
  if (count === null) return null;
  if (count <= 0 || count >= run.expertCount) return () => count > 0;
  return rank ? (k) => rank[k] < count : null;
}
function bindMap({data}) {
  const colour = byId("map-colour").value, values = experts[colour], own = isDigital(digitalCount());
  const digital = isDigital(state.mapCount ?? digitalCount()), finite = Array.from(values).filter(Number.isFinite);
  const low = Math.min(...finite), high = Math.max(...finite);
  const moved = digital && own ? Array.from(values, (_, k) => k).filter((k) => digital(k) !== own(k)) : [];
  const traces = data.map((trace) => {
    const name = digital ? trace.meta.placement : "placement unknown", cells = new Map();
    values.forEach((v, k) => {
      const here = digital ? digital(k) : false;
      if (here === (trace.meta.placement === "digital")) cells.set(`${experts.layer[k]} ${experts.expert[k]}`, v);
    });
    return {...trace, z: trace.y.map((layer) => trace.x.map((expert) => cells.get(`${layer} ${expert}`) ?? null)),
      zmin: low, zmax: high > low ? high : low + 1,
      colorbar: {...trace.colorbar, title: {...trace.colorbar.title, text: `${name}<br>${plain(term(colour))}`}},
      hovertemplate: `layer %{y}, expert %{x}: ${name}<br>${plain(term(colour))} %{z:.4~g}<extra></extra>`};
  });
  mapWords(digital, moved.length);
  return [...traces, {type: "scatter", mode: "markers", showlegend: false, hoverinfo: "skip", x: moved.map((k) => experts.expert[k]),
    y: moved.map((k) => experts.layer[k]), marker: {symbol: "square-open", size: 9, color: ACCENT, line: {width: 2}}}];
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
function bindOrders({data}) {
  const scope = value("placement_scope", state.selected) === "per_layer" ? "_per_layer" : "_global";
  return data.map((t) => ({...t, visible: t.meta.order.endsWith(scope), line: {...t.line, width: t.meta.order === rankColumn() ? 4 : 1.4}}));
}

// ---- what fills in which figure ----
const BIND = {
  pareto: ({data}) => withRing(data.map((t) => bindPoints(t, state.axes)), state.axes.x, state.axes.y),
  share: ({data}) => (data.length ? withRing(data.map((t) => bindPoints(t)), data[0].meta.x, data[0].meta.y) : []),
  parallel: bindParallel, icicle: ({data}) => data.map(bindIcicle), bars: ({data}) => bindBars(data),
  utilisation: ({data}) => bindBars(data), timeline: ({data}) => data.map(bindTimeline), step: bindStep,
  map: (spec) => (spec.data.length ? bindMap(spec) : []), coverage: bindOrders, budget: ({data}) => data.map(bindBudget),
};
