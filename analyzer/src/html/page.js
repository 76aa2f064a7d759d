"use strict";
// Sorting: a click or Enter on a heading; once more turns it round.
for (const table of document.querySelectorAll("table.sortable")) {
  table.tHead.addEventListener("click", (event) => {
    const head = event.target.closest("th");
    if (!head) return;
    const column = head.cellIndex;
    const up = head.getAttribute("aria-sort") === "descending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const key = (row) => {
      const cell = row.cells[column];
      return "v" in cell.dataset ? Number(cell.dataset.v) : cell.textContent;
    };
    const order = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
    const rows = [...table.tBodies[0].rows].map((row) => [key(row), row]);
    rows.sort((a, b) => (up ? order(a[0], b[0]) : order(b[0], a[0])));
    table.tBodies[0].append(...rows.map(([, row]) => row));
  });
}
// Searching the events.
const filter = document.getElementById("filter");
filter.addEventListener("input", () => {
  const wanted = filter.value.toLowerCase();
  let shown = 0;
  for (const row of document.querySelectorAll("#event tbody tr")) {
    row.hidden = !row.textContent.toLowerCase().includes(wanted);
    shown += !row.hidden;
  }
  document.getElementById("shown").textContent = wanted ? `${shown} shown` : "";
});
// Zooming the timeline.
const time = document.getElementById("time");
const range = document.getElementById("range");
const all = time.viewBox.baseVal.width;
let [from, to] = [0, all];
const said = (bins) => {
  const ns = bins * Number(range.dataset.bin);
  const [scale, unit] = ns < 1e3 ? [1, "ns"] : ns < 1e6 ? [1e3, "us"] : ns < 1e9 ? [1e6, "ms"] : [1e9, "s"];
  return Number((ns / scale).toPrecision(3)) + " " + unit;
};
const look = (a, b) => {
  const width = Math.min(all, Math.max(Math.min(all, 4), b - a));
  from = Math.max(0, Math.min(a, all - width));
  to = from + width;
  time.setAttribute("viewBox", `${from} 0 ${width} 100`);
  range.textContent = `${said(from)} to ${said(to)}`;
};
const at = (event) => {
  const box = time.getBoundingClientRect();
  return from + ((event.clientX - box.left) / box.width) * (to - from);
};
let start = null;
time.addEventListener("pointerdown", (event) => { start = at(event); });
time.addEventListener("pointerup", (event) => {
  const end = at(event);
  if (start !== null && Math.abs(end - start) > (to - from) / 100) look(Math.min(start, end), Math.max(start, end));
  start = null;
});
time.addEventListener("dblclick", () => look(0, all));
time.addEventListener("keydown", (event) => {
  const width = to - from;
  const middle = (from + to) / 2;
  const actions = {
    "+": () => look(middle - width / 4, middle + width / 4),
    "-": () => look(middle - width, middle + width),
    ArrowLeft: () => look(from - width / 4, to - width / 4),
    ArrowRight: () => look(from + width / 4, to + width / 4),
    0: () => look(0, all),
  };
  if (actions[event.key]) {
    actions[event.key]();
    event.preventDefault();
  }
});
