// The filter box: conditions in the words and units of the headings, and what it answers.
"use strict";
const SIGNS = {"<": (a, b) => a < b, ">": (a, b) => a > b, "<=": (a, b) => a <= b, ">=": (a, b) => a >= b,
  "=": (a, b) => a === b, "==": (a, b) => a === b, "!=": (a, b) => a !== b};
const PREFIXES = {f: 1e-15, p: 1e-12, n: 1e-9, "µ": 1e-6, u: 1e-6, m: 1e-3, "": 1, k: 1e3, M: 1e6, G: 1e9, T: 1e12};
// Other ways to write a unit.
const ALIASES = {mm2: "mm²", "tok/s": "tokens/s", "t/s": "tokens/s", point: "points", pt: "points", pts: "points", nat: "nats", bits: "bit", $: "US$", usd: "US$"};
const names = Object.keys(columns), textColumns = names.filter((name) => !numeric(name)), texts = [];
const rowText = (i) => (texts[i] ??= [nameOf(i), ...textColumns.map((name) => value(name, i) ?? "")].join(" ").toLowerCase());
const squeezed = (text) => text.toLowerCase().replace(/[\s_]/g, "");

// A column by its name, its heading or how either begins; those of the table first.
function findColumn(word) {
  const wanted = squeezed(word), known = [...new Set([...run.table, ...names])], label = (n) => squeezed(run.specs[n].label);
  const ways = [(n) => n.toLowerCase() === word.toLowerCase(), (n) => label(n) === wanted, (n) => squeezed(n).startsWith(wanted),
    (n) => label(n).startsWith(wanted), (n) => label(n).includes(wanted), (n) => squeezed(run.specs[n].headingUnit) === wanted];
  for (const way of ways) { const found = known.find(way); if (found) return found; }
  return null;
}
// What a number in a unit is multiplied by to be what the column holds; null for another unit.
function unitFactor(name, unit, typed) {
  const spec = run.specs[name], base = spec.unit.replace("/token", "");
  if (!unit) return typed.includes("_") && typed === name ? 1 : spec.kind === "percent" ? 0.01 : 1 / spec.scale;
  if (spec.kind === "percent") return unit === "%" ? 0.01 : null;
  const plainUnit = unit.replace("/token", "");
  if (spec.kind === "si" && plainUnit in PREFIXES) return PREFIXES[plainUnit];
  for (const prefix of spec.kind === "si" ? Object.keys(PREFIXES) : [""]) {
    const rest = plainUnit.startsWith(prefix) ? plainUnit.slice(prefix.length) : null;
    if (rest !== null && [base, spec.unit].includes(ALIASES[rest] ?? rest)) return PREFIXES[prefix];
  }
  return null;
}
function span(name) {
  const {scale, headingUnit, kind} = run.specs[name], all = [...columns[name]].filter((v) => !isMissing(v));
  const shown = (v) => whole4.format(v * (kind === "percent" ? 100 : scale));
  return all.length ? `${shown(all.reduce((a, b) => Math.min(a, b)))} to ${shown(all.reduce((a, b) => Math.max(a, b)))} ${headingUnit}`.trim() : `not computed for any design`;
}
const whole4 = new Intl.NumberFormat("en", {maximumSignificantDigits: 4});
// One condition as {words, test}; throws a sentence that says what is wrong with it.
function condition(words, typed, sign, wanted) {
  const name = findColumn(typed);
  if (!name) throw `No column is called “${typed}”; headings are ${run.table.map((n) => run.specs[n].label.toLowerCase()).slice(1, 9).join(", ")} and more.`;
  const label = run.specs[name].label;
  if (!wanted) throw `“${words}” lacks a value: ${label} is ${numeric(name) ? span(name) : "a text"}.`;
  if (!numeric(name)) {
    if (!/^(==?|!=)$/.test(sign)) throw `${label} is a text: compare it with == or !=.`;
    const known = [...new Set(columns[name])].filter((v) => !isMissing(v)), same = (v) => [v, term(v)].some((t) => squeezed(t) === squeezed(wanted));
    if (!known.some(same)) throw `${label} is never “${wanted}”; it is ${known.slice(0, 8).join(", ") || "missing everywhere"}${known.length > 8 ? " …" : ""}.`;
    return {words, test: (i) => !isMissing(value(name, i)) && SIGNS[sign](same(value(name, i)), true)};
  }
  const [, digits, unit] = /^([-−+]?[\d,]*\.?\d+(?:e[-+]?\d+)?)\s*(.*)$/i.exec(wanted) ?? [];
  if (!digits) throw `“${wanted}” is not a number: ${label} is ${span(name)}.`;
  const factor = unitFactor(name, unit, typed), exact = (v) => Number(v.toPrecision(6));
  if (factor === null) throw `${label} is in ${run.specs[name].headingUnit || "plain numbers"}, not “${unit}”.`;
  const limit = exact(Number(digits.replace(/,/g, "").replace("−", "-")) * factor);
  return {words: `${label} ${span(name)}`, test: (i) => !isMissing(value(name, i)) && SIGNS[sign](exact(value(name, i)), limit)};
}
function conditions(text) {
  // Signs and units may stand apart from their numbers; quotes keep words together.
  const joined = text.trim().replace(/\s*(<=|>=|==|!=|<|>|=)\s*/g, "$1").replace(/([<>=]\s*[-−+]?[\d.,]+)\s+(?=[fpnµumkMGT]?(J|s|W|tok|t\/s|mm|nat|point|%|MiB|bit)\b|%)/g, "$1");
  const words = joined.match(/(?:[^\s"]|"[^"]*")+/g)?.map((word) => word.replace(/"/g, "")) ?? [];
  return words.map((word) => {
    const [, start, sign, wanted] = /^([^<>=!]+)(<=|>=|==|!=|<|>|=)(.*)$/.exec(word) ?? [];
    if (start) return condition(word, start, sign, wanted);
    if (/^\d+$/.test(word)) return {words: `design ${word}`, test: (i) => value("trial", i) === Number(word)};
    if (/[<>=]/.test(word)) throw `“${word}” lacks a heading before its sign.`;
    return {words: `“${word}” in a text`, test: (i) => rowText(i).includes(word.toLowerCase())};
  });
}
function say(text, alert = false) {
  byId("filter-words").textContent = text;
  byId("filter-words").classList.toggle("alert", alert);
  byId("filter").setAttribute("aria-invalid", alert);
}
// Positions that the filter and the choice beside it leave; an error leaves none, and says so.
function filtered() {
  const text = byId("filter").value, rows = rowsIn(byId("which").value);
  try {
    const all = conditions(text), left = rows.filter((i) => all.every(({test}) => test(i)));
    const alone = all.map(({words, test}) => `${words}: ${rows.filter(test).length.toLocaleString("en")}`);
    say(!left.length && rows.length && text.trim() ? `No design matches. Of ${rows.length.toLocaleString("en")}, each condition alone leaves: ${alone.join("; ")}.` : "", !left.length && rows.length > 0);
    return left;
  } catch (error) {
    if (typeof error !== "string") throw error;
    say(error, true);
    return [];
  }
}
