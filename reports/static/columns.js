// The run's columns, which travel once and packed, and their numbers as text.
"use strict";
const byId = (id) => document.getElementById(id);
const run = JSON.parse(byId("data").textContent);
const MISSING = run.missing, ROWS_A_PAGE = 15, MOST_LINES = 500;

// ---- columns ----
function unpack({data, values, text}) {
  const bytes = typeof data === "string" ? Uint8Array.from(atob(data), (c) => c.charCodeAt(0)) : data;
  if (!values) return new Float32Array(bytes.buffer);
  return text ? Array.from(bytes, (k) => values[k] ?? null) : Float32Array.from(bytes, (k) => values[k] ?? NaN);
}
const unpackAll = (table) => Object.fromEntries(Object.entries(table).map(([k, v]) => [k, unpack(v)]));
const columns = unpackAll(run.columns), experts = unpackAll(run.experts), layers = unpackAll(run.layers);
const alike = unpackAll(run.alike), heights = run.heights.map(unpack), nothing = new Float32Array(run.count).fill(NaN);
const numeric = (name) => columns[name] instanceof Float32Array;
const numbers = (name) => (numeric(name) ? columns[name] : nothing);
const value = (name, i) => (columns[name] ? columns[name][i] : null);
const isMissing = (v) => v === null || v === undefined || Number.isNaN(v);
const term = (name) => run.terms[name] || name;
const nameOf = (i) => (i < 0 ? "no design" : value("reference_name", i) ?? `design ${value("trial", i)}`);
const state = {selected: run.selected, against: run.against, marked: new Set(), sort: ["trial", 1], page: 0, mapCount: null};
// Positions of a set of designs: what the page has chosen, else a set that came with it.
const rowsIn = (name) => (name === "selected" ? [state.selected].filter((i) => i >= 0)
  : name === "marked" ? [...state.marked] : run.rows[name]);

// ---- numbers as text ----
const engineering = new Intl.NumberFormat("en", {notation: "engineering", minimumSignificantDigits: 3, maximumSignificantDigits: 3});
const threeDigits = new Intl.NumberFormat("en", {maximumSignificantDigits: 3}), whole = new Intl.NumberFormat("en", {maximumFractionDigits: 0});
function si(v, unit) {
  if (v === 0 || !Number.isFinite(v)) return `${v} ${unit}`;
  const [digits, power] = engineering.format(v).split("E");
  return `${digits} ${{"-15": "f", "-12": "p", "-9": "n", "-6": "µ", "-3": "m", 0: "", 3: "k", 6: "M", 9: "G", 12: "T"}[power]}${unit}`;
}
const points = (v) => (Math.abs(v) < 0.005 ? "0.00" : `${v > 0 ? "+" : "−"}${Math.abs(v).toFixed(2)}`);
const short = (v) => String(Number(v.toPrecision(4)));
const amount = (v, {kind, unit}) => (kind === "si" ? si(v, unit) : `${short(v)} ${unit}`);
function withError(v, error, most) {
  if (isMissing(error)) return `${short(v)} (standard error ${MISSING})`;
  const decimals = error > 0 ? Math.max(0, Math.min(most, 1 - Math.floor(Math.log10(error)))) : 0;
  return error > 0 ? `${(+v.toFixed(decimals) || 0).toFixed(decimals)} ± ${error.toFixed(decimals)}` : `${short(v)} ± 0`;
}
function show(name, i, inTable = false) {
  const v = value(name, i), spec = run.specs[name];
  if (isMissing(v)) return MISSING;
  if (typeof v === "string") return term(v);
  const scale = spec.kind === "percent" ? 100 : 1, suffix = !inTable && spec.unit ? ` ${spec.unit}` : "";
  if (spec.stderr) return withError(v * scale, (value(spec.stderr, i) ?? NaN) * scale, scale > 1 ? 2 : 4) + suffix;
  if (spec.unit === "points") return points(v) + suffix;
  if (["tokens/s", "tok/s"].includes(spec.unit)) return threeDigits.format(v) + suffix;
  if (spec.kind === "si") return inTable ? (v * spec.scale).toPrecision(3) : si(v, spec.unit);
  if (spec.kind === "count") return whole.format(v) + suffix;
  return (spec.kind === "percent" ? threeDigits.format(v * scale) : short(v)) + suffix;
}
// Plotly reads a little HTML in labels, so whatever comes from the data is escaped.
const plain = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
// A design has no technology or converters where it has no tiles, and no score where it chose nothing.
function hasPart(name, i) {
  const share = value("digital_expert_fraction", i), chose = !(share === 0 || share === 1);
  if (name.startsWith("placement_")) return chose && !isMissing(value(name, i));
  if (["utilisation", "occupancy"].includes(name)) return value("tiles", i) !== 0;
  return run.objectives.includes(name) || value(name, i) !== "" && !isMissing(value(name, i));
}
const hovers = [];
const hover = (i) => (hovers[i] ??= `<b>${plain(nameOf(i))}</b><br>` + run.hover
  .filter((name) => hasPart(name, i))
  .map((name) => `${plain(run.specs[name].label)}: ${plain(show(name, i))}`).join("<br>"));
