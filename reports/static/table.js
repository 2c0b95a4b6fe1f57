// The table of all designs: filter, sort, pages, CSV.
"use strict";
function element(tag, text, className = "") {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  made.className = className;
  return made;
}
function button(text, className, onclick) {
  return Object.assign(element("button", text, className), {type: "button", onclick});
}
// Marks an accuracy that chance does not tell from the recommended design's.
const likeRecommended = (name, i, words) => (i !== run.recommended && alike[name]?.[i] ? words : "");
const COMPARE = {"<": (a, b) => a < b, ">": (a, b) => a > b, "<=": (a, b) => a <= b, ">=": (a, b) => a >= b, "=": (a, b) => a === b, "!=": (a, b) => a !== b};
const names = Object.keys(columns), textColumns = names.filter((name) => !numeric(name)), texts = [];
const rowText = (i) => (texts[i] ??= [nameOf(i), ...textColumns.map((name) => value(name, i) ?? "")].join(" ").toLowerCase());
function tests() {
  const unknown = [];
  const made = byId("filter").value.toLowerCase().trim().split(/\s+/).filter(Boolean).map((word) => {
    const [, start, sign, wanted] = /^([\w.]+)(<=|>=|!=|<|>|=)(.+)$/.exec(word) || [];
    if (!start) return (i) => rowText(i).includes(word);
    const column = names.includes(start) ? start : names.find((c) => c.startsWith(start));
    if (!column) { unknown.push(start); return () => true; }
    const of = numeric(column) ? (v) => Number(v.toPrecision(6)) : (v) => v.toLowerCase();
    return (i) => !isMissing(value(column, i)) && COMPARE[sign](of(value(column, i)), numeric(column) ? Number(wanted) : wanted);
  });
  byId("filter-words").textContent = unknown.length ? `No column starts with ${unknown.join(", ")}; columns are ${names.slice(0, 30).join(", ")} …` : "";
  return made;
}
function chosenRows() {
  const [name, sign] = state.sort, conditions = tests();
  return rowsIn(byId("which").value).filter((i) => conditions.every((test) => test(i))).sort((a, b) => {
    const va = value(name, a), vb = value(name, b);
    // Missing values come last whichever way the column is sorted.
    if (isMissing(va) || isMissing(vb)) return isMissing(va) - isMissing(vb) || a - b;
    return sign * (typeof va === "string" ? va.localeCompare(vb) : va - vb) || a - b;
  });
}
function cell(name, i) {
  const text = show(name, i, true), missing = text === MISSING;
  const td = element("td", missing ? "–" : text + likeRecommended(name, i, " ≈"), `${numeric(name) ? "n" : ""} ${missing ? "missing" : ""}`.trim());
  if (missing) td.setAttribute("aria-label", MISSING);
  td.title = missing ? MISSING : numeric(name) ? "" : text;
  return td;
}
function fillTable() {
  const rows = chosenRows(), pages = Math.max(1, Math.ceil(rows.length / ROWS_A_PAGE));
  state.page = Math.max(0, Math.min(state.page, pages - 1));
  byId("rows").replaceChildren(...rows.slice(state.page * ROWS_A_PAGE, (state.page + 1) * ROWS_A_PAGE).map((i) => {
    const tr = element("tr", undefined, `${i === state.selected ? "selected" : ""} ${state.marked.has(i) ? "marked" : ""}`.trim());
    const first = element("td");
    first.append(button(nameOf(i), "link", () => select(i)));
    tr.append(first, ...run.table.slice(1).map((name) => cell(name, i)));
    return tr;
  }));
  byId("page-words").textContent = `${rows.length.toLocaleString("en")} designs, page ${state.page + 1} of ${pages}`;
  byId("page-back").disabled = state.page === 0;
  byId("page-on").disabled = state.page === pages - 1;
  for (const th of byId("head").children) th.setAttribute("aria-sort", th.dataset.name !== state.sort[0] ? "none" : state.sort[1] > 0 ? "ascending" : "descending");
}
function tableHead() {
  byId("head").replaceChildren(...run.table.map((name) => {
    const th = Object.assign(element("th", undefined, numeric(name) && name !== "trial" ? "n" : ""), {scope: "col"});
    th.dataset.name = name;
    th.append(button(run.specs[name].heading, "sort", () => { state.sort = [name, state.sort[0] === name ? -state.sort[1] : 1]; fillTable(); }));
    return th;
  }));
}
function csv() {
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
  const text = csv();
  try { await navigator.clipboard.writeText(text); } catch {
    const area = document.body.appendChild(element("textarea", text));
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  byId("filter-words").textContent = `Copied ${(text.split("\n").length - 2).toLocaleString("en")} designs as CSV.`;
}
