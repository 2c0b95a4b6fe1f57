// The data of each figure: figures, words and colours come from Python, what they show from the columns.
"use strict";
// ---- designs as points ----
const axes = () => ({x: byId("axis-x").value, y: byId("axis-y").value, colour: byId("axis-colour").value});
const pick = (name, rows) => rows.map((i) => numbers(name)[i]);
// As an axis counts: in the unit of its heading.
const onAxis = (name, rows) => rows.map((i) => numbers(name)[i] * run.specs[name].scale);
function errorBar(look, name, rows) {
  const {error: [low, high], scale} = run.specs[name];
  if (!low) return {visible: false};
  // One column is an error either side, two are the ends of a range.
  const bar = {...look, type: "data", visible: true};
  return !high ? {...bar, array: pick(low, rows)} : {...bar, array: rows.map((i) => scale * (columns[high][i] - columns[name][i])),
    arrayminus: rows.map((i) => scale * (columns[name][i] - columns[low][i]))};
}
function bindPoints(trace, {x, y, colour}) {
  const {meta} = trace, cx = numbers(x), cy = numbers(y);
  const rows = (meta.rows === "stairs" ? run.stairs[`${x} ${y}`] ?? [] : rowsIn(meta.rows)).filter((i) => Number.isFinite(cx[i]) && Number.isFinite(cy[i]));
  const bound = {...trace, visible: true, x: onAxis(x, rows), y: onAxis(y, rows), customdata: rows};
  if (trace.hoverinfo === "skip") return bound;
  bound.hovertext = rows.map(hover);
  // Names of references stand beside their points, placed where there is room.
  if (meta.rows === "reference") Object.assign(bound, {mode: "markers", text: null});
  for (const [bar, name] of [["error_x", x], ["error_y", y]]) if (trace[bar]) bound[bar] = errorBar(trace[bar], name, rows);
  if (meta.colour) {
    const scale = run.specs[colour].colour, shown = pick(colour, rows);
    bound.marker = {...trace.marker, ...scale, color: scale.log ? shown.map(Math.log10) : shown};
  }
  return {...bound, selectedpoints: state.marked.size ? rows.flatMap((i, k) => (state.marked.has(i) ? [k] : [])) : null};
}
// Names beside the reference points of the front: each where it covers no other and few points.
function referenceNames(div) {
  const {xaxis, yaxis} = div._fullLayout, {x, y} = axes(), taken = [];
  const at = (i) => [[x, xaxis], [y, yaxis]].map(([name, axis]) => {
    const v = numbers(name)[i] * run.specs[name].scale, place = axis.type === "log" ? Math.log10(v) : v;
    return {place, pixel: axis._length * (place - axis.range[0]) / (axis.range[1] - axis.range[0])};
  });
  const dots = run.rows.front.map((i) => at(i).map(({pixel}) => pixel));
  return run.rows.reference.flatMap((i) => {
    const [px, py] = at(i), text = nameOf(i), width = 7.2 * text.length + 10;
    if (!(px.pixel >= 0 && px.pixel <= xaxis._length && py.pixel >= 0 && py.pixel <= yaxis._length)) return [];
    const spots = [[0, 30], [0, -30], [60, 40], [-60, 40], [60, -40], [-60, -40], [0, 62], [0, -62], [90, 75], [-90, 75], [90, -75], [-90, -75]].map(([dx, dy]) => {
      const box = [px.pixel + dx - width / 2, py.pixel + dy - 11, px.pixel + dx + width / 2, py.pixel + dy + 11];
      const covers = (other) => box[0] < other[2] && other[0] < box[2] && box[1] < other[3] && other[1] < box[3];
      const outside = box[0] < 0 || box[1] < 0 || box[2] > xaxis._length || box[3] > yaxis._length;
      return {dx, dy, box, cost: 1000 * taken.filter(covers).length + 100 * outside + dots.filter(([u, v]) => covers([u - 6, v - 6, u + 6, v + 6])).length + Math.hypot(dx, dy) / 60};
    });
    const best = spots.reduce((a, b) => (b.cost < a.cost ? b : a));
    taken.push(best.box, [px.pixel - 8, py.pixel - 8, px.pixel + 8, py.pixel + 8]);
    return [{x: px.place, y: py.place, ax: best.dx, ay: -best.dy, text: plain(text), showarrow: true, arrowhead: 0, arrowwidth: 1, standoff: 6, font: {size: 12}, borderpad: 2}];
  });
}
// Ticks of a logarithmic axis for what it shows: decades, then 1-2-5, then every digit.
function logTicks({range}, suffix) {
  const [low, high] = range.map((v) => 10 ** v), decades = Array.from({length: Math.ceil(range[1]) - Math.floor(range[0]) + 1}, (_, k) => Math.floor(range[0]) + k);
  const ticks = [[1], [1, 2, 5], [1, 1.5, 2, 3, 4, 5, 6, 8]].map((steps) => decades.flatMap((d) => steps.map((s) => Number(`${s}e${d}`))).filter((t) => t >= low && t <= high));
  const tickvals = ticks.find((some) => some.length > 3) ?? ticks[2];
  return {tickvals, ticktext: tickvals.map((t) => `${t >= 1e4 ? `${t / 1e3}k` : t}${suffix}`)};
}
function finishPareto(div) {
  const update = {annotations: referenceNames(div)};
  for (const axis of ["xaxis", "yaxis"]) {
    const full = div._fullLayout[axis];
    if (full.type === "log") for (const [name, ticks] of Object.entries(logTicks(full, div.layout[axis].ticksuffix ?? ""))) update[`${axis}.${name}`] = ticks;
  }
  Plotly.relayout(div, update);
}
// Designs that the area budget would have bought: the selected one, if it is among them, stands out.
function bindBudget(trace) {
  const here = (trace.customdata ?? []).flatMap((trial, k) => (trial === value("trial", state.selected) ? [k] : []));
  return {...trace, selectedpoints: here.length ? here : null};
}

// ---- designs as lines ----
function bindLines(trace) {
  const {lines} = trace.meta, some = rowsIn(lines).filter((i) => columns.state[i] === "complete");
  // The crowd behind is for the eye only: beyond some hundred lines more of them show nothing new.
  const step = lines === "behind" ? Math.ceil(some.length / MOST_LINES) : 1, rows = some.filter((_, k) => k % step === 0);
  // One line after the other, with a gap between.
  const along = (of) => rows.flatMap((i) => [...heights.map((column, place) => of(i, place, column)), of(i, NaN, [])]);
  return {...trace, visible: rows.length > 0, x: along((_, place) => place), y: along((i, _, column) => column[i] ?? NaN),
    customdata: along((i) => i), text: trace.hovertemplate ? along(hover) : null,
    name: rows.length < some.length ? `${trace.name} (${rows.length} of ${some.length} drawn)` : trace.name,
    opacity: state.marked.size && run.rows[lines] ? Math.min(0.12, trace.opacity) : trace.opacity};
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
    text: of((n) => amount(n.v, run.specs[drill.total])), marker: {...trace.marker, colors: of((n) => (n.parent ? drill.colours[n.part] ?? drill.branch : drill.root))}};
}
function bindBars(data) {
  const rows = [...new Set([state.selected, ...run.rows.reference])].filter((i) => i >= 0), names = rows.map((i) => plain(nameOf(i)));
  if (data[0]?.meta.share) {
    const has = (i) => value("tiles", i) > 0, labels = rows.map((i, k) => (has(i) ? names[k] : `${names[k]},<br>no tiles`));
    return data.map((trace) => ({...trace, y: labels, x: rows.map((i) => (has(i) ? value(trace.meta.share, i) : null)),
      text: trace.meta.tiles ? rows.map((i) => (has(i) ? `${show("tiles", i)} tiles of ${show("tiers", i)} tiers` : "")) : null}));
  }
  const drill = run.drills[data[0]?.meta.drill] || {leaves: []}, parts = rows.map((i) => leaves(drill, i));
  const sum = (own, part) => own.reduce((total, leaf) => total + (leaf[1] === part ? leaf[2] : 0), 0);
  return data.map((trace) => ({...trace, y: names, x: parts.map((own) => run.specs[drill.total].scale * sum(own, trace.meta.part))}));
}
function bindTimeline(trace) {
  const {factor} = trace.meta, stages = trace.meta.timeline.map((s) => ({...s, v: value(s.column, state.selected) || 0})).filter((s) => s.v > 0);
  const total = stages.reduce((t, s) => t + s.v, 0);
  let end = 0;
  return {...trace, x: stages.map((s) => factor * s.v), base: stages.map((s) => factor * ((end += s.v) - s.v)),
    y: stages.map((s) => `${plain(s.name)}<br>${si(s.v, "s")} (${((100 * s.v) / total).toFixed(1)} %)`)};
}
function bindStep({data}) {
  const pace = run.stepTokens / (value("throughput_tokens_per_s", state.selected) * (value("micro_batches", state.selected) || 1));
  const bars = layerRows(state.selected).filter((k) => layers.busy_s[k] > 0).flatMap((k) =>
    Array.from({length: layers.last_layer[k] - layers.first_layer[k] + 1}, (_, n) => ({k, layer: layers.first_layer[k] + n,
      start: layers.begin_s[k] + n * layers.layer_s[k]})));
  byId("pace").textContent = run.pace[state.selected] ?? run.notKept;
  return data.map((trace) => {
    const {stage, following, offsets, factor} = trace.meta, steps = Array.from({length: following ?? 0}, (_, n) => (n + 1) * pace);
    const own = following ? steps.flatMap((later) => bars.map((b) => ({...b, start: b.start + later})))
      : bars.filter((b) => layers.module[b.k] === stage);
    return {...trace, x: own.map((b) => factor * layers.busy_s[b.k]), base: own.map((b) => factor * b.start),
      y: own.map((b) => b.layer + offsets[layers.resource[b.k]]), customdata: own.map((b) => layers.resource[b.k])};
  });
}

function bindRoofline({data}) {
  const rows = layerRows(state.selected).filter((k) => layers.memory_bytes[k] > 0 && layers.busy_s[k] > 0);
  const [peak, bandwidth] = run.peaks.map((name) => value(name, state.selected)), intensity = (k) => layers.macs[k] / layers.memory_bytes[k];
  const ends = [peak / bandwidth, ...rows.map(intensity)], roof = [Math.min(...ends) / 2, peak / bandwidth, Math.max(...ends) * 2];
  return data.map((trace) => {
    if (trace.meta.roof) return {...trace, x: roof, y: roof.map((x) => Math.min(peak, bandwidth * x) / 1e9)};
    const own = rows.filter((k) => layers.module[k] === trace.meta.roofStage);
    return {...trace, x: own.map(intensity), y: own.map((k) => layers.macs[k] / layers.busy_s[k] / 1e9)};
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
  const digital = isDigital(state.mapCount ?? digitalCount()), [zmin, zmax] = run.mapColumns[colour];
  const moved = digital && own ? Array.from(values, (_, k) => k).filter((k) => digital(k) !== own(k)) : [];
  mapWords(digital, moved.length);
  return data.map((trace) => {
    if (trace.meta.placement === "moved") return {...trace, x: moved.map((k) => experts.expert[k]), y: moved.map((k) => experts.layer[k])};
    const name = digital ? trace.meta.placement : "placement unknown", cells = new Map();
    values.forEach((v, k) => {
      const here = digital ? digital(k) : false;
      if (here === (trace.meta.placement === "digital")) cells.set(`${experts.layer[k]} ${experts.expert[k]}`, v);
    });
    return {...trace, zmin, zmax, z: trace.y.map((layer) => trace.x.map((expert) => cells.get(`${layer} ${expert}`) ?? null)),
      colorbar: {...trace.colorbar, title: {...trace.colorbar.title, text: `${name}<br>${plain(term(colour))}`}},
      hovertemplate: `layer %{y}, expert %{x}: ${name}<br>${plain(term(colour))} %{z:.4~g}<extra></extra>`};
  });
}
function mapWords(digital, moved) {
  const own = digitalCount(), count = state.mapCount ?? own, many = whole.format;
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
  pareto: ({data}) => data.map((t) => bindPoints(t, axes())), share: ({data}) => data.map((t) => bindPoints(t, t.meta)),
  parallel: ({data}) => data.map(bindLines), icicle: ({data}) => data.map(bindIcicle), bars: ({data}) => bindBars(data),
  utilisation: ({data}) => bindBars(data), timeline: ({data}) => data.map(bindTimeline), step: bindStep,
  roofline: bindRoofline, map: bindMap, coverage: bindOrders, budget: ({data}) => data.map(bindBudget),
};
