// Two designs side by side: what differs, by how much, and what is the same.
"use strict";
// The ends of a result's range in the unit of its heading.
function rangeOf(name, i) {
  const ends = ["low", "high"].map((end) => value(`${name}_${end}`, i));
  return ends.some(isMissing) ? "" : ends.map((v) => (run.specs[name].unit === "points" ? points(v) : threeDigits.format(v * run.specs[name].scale))).join(" to ");
}
// By how much a result of a differs from b's, in words, and whether that is more than chance or the range.
function difference(name, a, b) {
  const spec = run.specs[name], [x, y] = [value(name, a), value(name, b)];
  if (!run.objectives.includes(name) || isMissing(x) || isMissing(y)) return {text: "", sure: false};
  if (spec.stderr) {
    const sure = Math.abs(x - y) > run.standardErrors * Math.hypot(value(spec.stderr, a) ?? NaN, value(spec.stderr, b) ?? NaN);
    const scale = spec.kind === "percent" ? 100 : 1, unit = spec.kind === "percent" ? "points" : spec.unit;
    return {text: sure ? `${signed((x - y) * scale)} ${unit}` : "not distinguishable", sure};
  }
  const [lowA, highA, lowB, highB] = [a, b].flatMap((i) => ["low", "high"].map((end) => value(`${name}_${end}`, i)));
  const apart = [lowA, highA, lowB, highB].some(isMissing) || lowA > highB || lowB > highA;
  const plainly = spec.unit === "points" || x <= 0 || y <= 0;
  const text = plainly ? `${signed(x - y)} ${spec.unit}` : x / y >= 2 || x / y <= 0.5 ? `${threeDigits.format(Math.max(x / y, y / x))}× ${x > y ? "more" : "less"}` : `${signed(100 * (x / y - 1))} %`;
  return {text: text + (apart ? "" : ", ranges overlap"), sure: apart};
}
const signed = (v) => (v > 0 ? "+" : v < 0 ? "−" : "") + Math.abs(Number(v.toPrecision(2)));
function compareDesigns() {
  const [a, b] = [state.selected, state.against], both = a >= 0 && b >= 0 ? [...run.objectives, ...run.parameters] : [];
  const differs = both.filter((name) => show(name, a) !== show(name, b)), same = both.filter((name) => !differs.includes(name) && show(name, a) !== MISSING);
  byId("differ-head").replaceChildren(...["", nameOf(a), nameOf(b), "Difference"].map((text, k) => Object.assign(element("th", text, k ? "n" : ""), {scope: "col"})));
  byId("differ").replaceChildren(...differs.map((name) => {
    const tr = element("tr"), head = Object.assign(element("th", run.specs[name].label), {scope: "row", title: run.specs[name].help});
    const {text, sure} = difference(name, a, b), higher = value(name, a) > value(name, b), better = run.specs[name].better;
    const wins = (first) => (sure && better && (better === "higher") === (higher === first) ? " better" : "");
    tr.append(head, ...[a, b].map((i, k) => {
      const td = element("td", show(name, i) === MISSING && !run.objectives.includes(name) ? "–" : show(name, i), `n${wins(k === 0)}`), ends = rangeOf(name, i);
      if (ends) td.append(element("small", ends));
      return td;
    }), element("td", text, "n"));
    return tr;
  }));
  byId("same").textContent = a === b ? "Choose another design to compare with." : same.length ? `The same in both: ${same.map((name) => `${run.specs[name].label} ${show(name, a)}`).join(", ")}.` : "";
}
function pin(i) {
  if (!(i >= 0)) return;
  const choice = byId("against");
  if (![...choice.options].some((option) => Number(option.value) === i)) choice.append(Object.assign(element("option", nameOf(i)), {value: i}));
  choice.value = i;
  state.against = i;
  compareDesigns();
  keepUrl();
}

// ---- the selection in the address: a link shows what its sender saw ----
const known = (text) => (text === null ? -1 : Array.from({length: run.count}, (_, i) => i).find((i) => value("reference_name", i) === text || (isMissing(value("reference_name", i)) && String(value("trial", i)) === text)) ?? -1);
const idOf = (i) => value("reference_name", i) ?? String(value("trial", i));
function keepUrl() {
  const asked = new URLSearchParams(), filter = byId("filter").value.trim();
  if (state.selected >= 0 && state.selected !== run.selected) asked.set("design", idOf(state.selected));
  if (state.against >= 0 && state.against !== run.against) asked.set("against", idOf(state.against));
  if (filter) asked.set("filter", filter);
  // A page inside a frame may not be allowed to change its address.
  try { history.replaceState(null, "", `${location.pathname}${asked.size ? `?${asked}` : ""}${location.hash}`); } catch { /* shown all the same */ }
}
function readUrl() {
  const asked = new URLSearchParams(location.search), chosen = known(asked.get("design")), other = known(asked.get("against"));
  if (chosen >= 0) state.selected = chosen;
  byId("filter").value = asked.get("filter") ?? "";
  pin(other >= 0 ? other : run.against);
}
