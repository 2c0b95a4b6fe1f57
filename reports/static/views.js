// The data of each figure: figures, words and colours come from Python, what they show from the columns.
"use strict";
// ---- designs as points ----
const axes = () => ({x: byId("axis-x").value, y: byId("axis-y").value, colour: byId("axis-colour").value});
const pick = (name, rows) => rows.map((i) => numbers(name)[i]);
function errorBar(look, name, rows) {
  const [low, high] = run.specs[name].error;
  if (!low) return {visible: false};
  // One column is an error either side, two are the ends of a range.
  const bar = {...look, type: "data", visible: true};
  return !high ? {...bar, array: pick(low, rows)} : {...bar, array: rows.map((i) => columns[high][i] - columns[name][i]),
    arrayminus: rows.map((i) => columns[name][i] - columns[low][i])};
}
function bindPoints(trace, {x, y, colour}) {
  const {meta} = trace, cx = numbers(x), cy = numbers(y);
  const rows = (meta.rows === "stairs" ? run.stairs[`${x} ${y}`] ?? [] : rowsIn(meta.rows)).filter((i) => Number.isFinite(cx[i]) && Number.isFinite(cy[i]));
  const bound = {...trace, visible: true, x: pick(x, rows), y: pick(y, rows), customdata: rows};
  if (trace.hoverinfo === "skip") return bound;
  bound.hovertext = rows.map(hover);
  if (trace.texttemplate) bound.text = rows.map((i) => plain(nameOf(i)));
  for (const [bar, name] of [["error_x", x], ["error_y", y]]) if (trace[bar]) bound[bar] = errorBar(trace[bar], name, rows);
  if (meta.colour) {
    const scale = run.specs[colour].colour, shown = pick(colour, rows);
    bound.marker = {...trace.marker, ...scale, color: scale.log ? shown.map(Math.log10) : shown};
  }
  return {...bound, selectedpoints: state.marked.size ? rows.flatMap((i, k) => (state.marked.has(i) ? [k] : [])) : null};
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
  const parts = rows.map((i) => leaves(run.drills[data[0]?.meta.drill] || {leaves: []}, i));
  const sum = (own, part) => own.reduce((total, leaf) => total + (leaf[1] === part ? leaf[2] : 0), 0);
  return data.map((trace) => ({...trace, y: names, x: parts.map((own) => sum(own, trace.meta.part))}));
}
function bindTimeline(trace) {
  const stages = trace.meta.timeline.map((s) => ({...s, v: value(s.column, state.selected) || 0})).filter((s) => s.v > 0);
  const total = stages.reduce((t, s) => t + s.v, 0);
  let end = 0;
  return {...trace, x: stages.map((s) => s.v), base: stages.map((s) => (end += s.v) - s.v),
    y: stages.map((s) => `${plain(s.name)}<br>${si(s.v, "s")} (${((100 * s.v) / total).toFixed(1)} %)`)};
}
function bindStep({data}) {
  const pace = run.stepTokens / (value("throughput_tokens_per_s", state.selected) * (value("micro_batches", state.selected) || 1));
  const bars = layerRows(state.selected).filter((k) => layers.busy_s[k] > 0).flatMap((k) =>
    Array.from({length: layers.last_layer[k] - layers.first_layer[k] + 1}, (_, n) => ({k, layer: layers.first_layer[k] + n,
      start: layers.begin_s[k] + n * layers.layer_s[k]})));
  byId("pace").textContent = run.pace[state.selected] ?? run.notKept;
  return data.map((trace) => {
    const {stage, following, offsets} = trace.meta, steps = Array.from({length: following ?? 0}, (_, n) => (n + 1) * pace);
    const own = following ? steps.flatMap((later) => bars.map((b) => ({...b, start: b.start + later})))
      : bars.filter((b) => layers.module[b.k] === stage);
    return {...trace, x: own.map((b) => layers.busy_s[b.k]), base: own.map((b) => b.start),
      y: own.map((b) => b.layer + offsets[layers.resource[b.k]]), customdata: own.map((b) => layers.resource[b.k])};
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
  map: bindMap, coverage: bindOrders, budget: ({data}) => data.map(bindBudget),
};
