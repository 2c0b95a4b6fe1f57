// The table of all designs: sort, pages, CSV.
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
function chosenRows() {
  const [name, sign] = state.sort;
  return filtered().sort((a, b) => {
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
  td.title = missing ? MISSING : numeric(name) ? rangeOf(name, i) : text;
  return td;
}
function fillTable() {
  const rows = chosenRows(), pages = Math.max(1, Math.ceil(rows.length / ROWS_A_PAGE)), body = byId("rows");
  const focused = body.contains(document.activeElement);
  state.page = Math.max(0, Math.min(state.page, pages - 1));
  body.replaceChildren(...rows.slice(state.page * ROWS_A_PAGE, (state.page + 1) * ROWS_A_PAGE).map((i) => {
    const tr = element("tr", undefined, `${i === state.selected ? "selected" : ""} ${state.marked.has(i) ? "marked" : ""}`.trim());
    const first = element("td");
    first.append(button(nameOf(i), "link", () => select(i)));
    tr.append(first, ...run.table.slice(1).map((name) => cell(name, i)));
    return tr;
  }));
  if (focused) body.querySelector(".selected button")?.focus();
  byId("page-words").textContent = `${rows.length.toLocaleString("en")} designs, page ${state.page + 1} of ${pages}`;
  byId("page-back").disabled = state.page === 0;
  byId("page-on").disabled = state.page === pages - 1;
  for (const th of byId("head").children) th.setAttribute("aria-sort", th.dataset.name !== state.sort[0] ? "none" : state.sort[1] > 0 ? "ascending" : "descending");
  [body, byId("page-back").parentElement].forEach(rove);
}
function tableHead() {
  byId("head").replaceChildren(...run.table.map((name) => {
    const th = Object.assign(element("th", undefined, numeric(name) && name !== "trial" ? "n" : ""), {scope: "col"});
    th.dataset.name = name;
    th.append(button(run.specs[name].heading, "sort", () => { state.sort = [name, state.sort[0] === name ? -state.sort[1] : 1]; fillTable(); }));
    th.title = run.specs[name].help;
    return th;
  }));
}
function csv() {
  const quote = (v) => {
    if (isMissing(v)) return "";
    if (typeof v === "number") return String(Number(v.toPrecision(7)));
    // A spreadsheet runs text that starts like a formula, full-width signs and leading space included.
    const text = /^\s*[=+\-@＝＋－＠]|^[\t\r\n]/.test(v) ? `'${v}` : v;
    return /[",\n\r]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text;
  };
  return [names.map(quote).join(","), ...chosenRows().map((i) => names.map((name) => quote(value(name, i))).join(","))].join("\n") + "\n";
}
const told = (done, text) => say(`${done} ${(text.split("\n").length - 2).toLocaleString("en")} designs as CSV.`);
async function copy() {
  const text = csv();
  try { await navigator.clipboard.writeText(text); } catch {
    const area = document.body.appendChild(element("textarea", text));
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  told("Copied", text);
}
function download() {
  const text = csv(), url = URL.createObjectURL(new Blob(["\ufeff", text], {type: "text/csv"}));
  Object.assign(element("a"), {href: url, download: "candidates.csv"}).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
  told("Downloaded", text);
}
