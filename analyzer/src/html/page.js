"use strict";
const count = (n) => n.toLocaleString("en-US");
const scaled = (value, names, base) => {
  let unit = 0;
  while (value >= base && unit < names.length - 1) { value /= base; unit += 1; }
  return [value, names[unit], unit];
};
const duration = (ns) => {
  const [value, name, unit] = scaled(ns, ["ns", "us", "ms", "s"], 1000);
  return (unit === 0 ? String(Math.round(value)) : value.toPrecision(value < 999.5 ? 3 : 4)) + " " + name;
};
const size = (bytes) => {
  const [value, name, unit] = scaled(bytes, ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"], 1024);
  return (Number.isInteger(value) || unit === 0 ? String(value) : value.toFixed(1)) + " " + name;
};
const make = (tag, text, attributes = {}) => {
  const element = document.createElement(tag);
  element.textContent = text;
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
};

// Tables: sorted by a heading, filtered, a page at a time. A row has sort keys, a text to search
// in, and an element, which may be made when it is shown.
const PAGE = 20;
const paged = (table, rows) => {
  const body = table.tBodies[0];
  let [shown, at, wanted] = [rows, 0, ""];
  const place = make("span", "", { "aria-live": "polite" });
  const buttons = [["‹", -PAGE, "previous rows"], ["›", PAGE, "next rows"]].map(([text, step, label]) => {
    const button = make("button", text, { type: "button", "aria-label": label });
    button.addEventListener("click", () => { at += step; draw(); });
    return button;
  });
  const input = make("input", "", { type: "search", placeholder: "filter", "aria-label": "filter rows" });
  input.addEventListener("input", () => {
    wanted = input.value.toLowerCase();
    at = 0;
    draw();
  });
  const draw = () => {
    shown = wanted ? rows.filter((row) => row.text().includes(wanted)) : rows;
    at = Math.max(0, Math.min(at, shown.length - 1));
    body.replaceChildren(...shown.slice(at, at + PAGE).map((row) => row.element()));
    const end = Math.min(at + PAGE, shown.length);
    place.textContent = shown.length ? `${count(at + 1)} to ${count(end)} of ${count(shown.length)}` : "no row";
    buttons[0].disabled = at === 0;
    buttons[1].disabled = end === shown.length;
  };
  const pager = make("div", "", { class: "pager", "data-for": table.id });
  pager.append(...buttons, place, input);
  if (rows.length > PAGE) table.parentElement.after(pager);
  table.tHead.addEventListener("click", (event) => {
    const head = event.target.closest("th");
    if (!head) return;
    const column = head.cellIndex;
    const up = head.getAttribute("aria-sort") === "descending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const order = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
    rows.sort((a, b) => (up ? order(a.key(column), b.key(column)) : order(b.key(column), a.key(column))));
    at = 0;
    draw();
  });
  draw();
};
const markupRows = (table) => [...table.tBodies[0].rows].map((row) => ({
  key: (column) => "v" in row.cells[column].dataset ? Number(row.cells[column].dataset.v) : row.cells[column].textContent,
  text: () => row.textContent.toLowerCase(),
  element: () => row,
}));
const callRows = () => {
  const { texts, drawn, rows } = JSON.parse(document.getElementById("calls").textContent);
  const isDrawn = new Set(drawn);
  const number = (text) => make("td", text, { class: "n" });
  return rows.map((row) => {
    const [event, since, tid, outcome, result, took, requested, relocated, parts, gaps, site, cause] = row;
    const keys = [event, since, tid, texts[outcome], texts[result], took, requested, relocated, parts, gaps, texts[site]];
    return {
      key: (column) => keys[column],
      text: () => keys.join(" ").toLowerCase(),
      element: () => {
        const line = document.createElement("tr");
        const first = number(isDrawn.has(event) ? "" : String(event));
        if (isDrawn.has(event)) first.append(make("a", String(event), { href: `#e${event}` }));
        const answer = make("td", texts[result], cause === null ? {} : { class: "bad", title: texts[cause] });
        line.append(first, number((since / 1e9).toFixed(6) + " s"), number(String(tid)), make("td", texts[outcome]), answer,
          number(duration(took)), number(size(requested)), number(size(relocated)), number(count(parts)), number(count(gaps)),
          make("td", texts[site]));
        return line;
      },
    };
  });
};
for (const table of document.querySelectorAll("table.paged")) {
  paged(table, table.id === "call" ? callRows() : markupRows(table));
}

// Pictures: one at a time, where there are several.
const pictures = [...document.querySelectorAll("#pictures figure")];
if (pictures.length > 1) {
  const pager = make("div", "", { class: "pager" });
  const place = make("span", "", { "aria-live": "polite" });
  let at = 0;
  const show = (to) => {
    at = (to + pictures.length) % pictures.length;
    pictures.forEach((figure, index) => { figure.hidden = index !== at; });
    place.textContent = `move ${at + 1} of ${pictures.length}`;
  };
  for (const [text, step, label] of [["‹", -1, "previous move"], ["›", 1, "next move"]]) {
    const button = make("button", text, { type: "button", "aria-label": label });
    button.addEventListener("click", () => show(at + step));
    pager.append(button);
  }
  pager.append(place);
  pictures[0].parentElement.before(pager);
  const follow = () => {
    const wanted = pictures.findIndex((figure) => "#" + figure.id === location.hash);
    if (wanted >= 0) {
      show(wanted);
      pictures[wanted].scrollIntoView();
    }
  };
  addEventListener("hashchange", follow);
  show(0);
  follow();
}

// The timeline's zoom.
const time = document.getElementById("time");
const range = document.getElementById("range");
const all = time.viewBox.baseVal.width;
let [from, to] = [0, all];
const said = (bins) => duration(bins * Number(range.dataset.bin));
const zoomTo = (a, b) => {
  const width = Math.min(all, Math.max(Math.min(all, 4), b - a));
  from = Math.max(0, Math.min(a, all - width));
  to = from + width;
  time.setAttribute("viewBox", `${from} 0 ${width} 100`);
  range.textContent = width === all ? "" : `shown: ${said(from)} to ${said(to)}`;
};
const at = (event) => {
  const box = time.getBoundingClientRect();
  return from + ((event.clientX - box.left) / box.width) * (to - from);
};
let start = null;
time.addEventListener("pointerdown", (event) => { start = at(event); });
time.addEventListener("pointerup", (event) => {
  const end = at(event);
  if (start !== null && Math.abs(end - start) > (to - from) / 100) zoomTo(Math.min(start, end), Math.max(start, end));
  start = null;
});
time.addEventListener("dblclick", () => zoomTo(0, all));
time.addEventListener("keydown", (event) => {
  const width = to - from;
  const middle = (from + to) / 2;
  const actions = {
    "+": () => zoomTo(middle - width / 4, middle + width / 4),
    "-": () => zoomTo(middle - width, middle + width),
    ArrowLeft: () => zoomTo(from - width / 4, to - width / 4),
    ArrowRight: () => zoomTo(from + width / 4, to + width / 4),
    0: () => zoomTo(0, all),
  };
  if (actions[event.key]) {
    actions[event.key]();
    event.preventDefault();
  }
});

// The flame graph: outermost frames below, as wide as their weight.
const flame = document.getElementById("flame");
const tree = JSON.parse(document.getElementById("tree").textContent);
const weight = document.getElementById("weight");
const description = document.getElementById("frame");
const hue = (name) => [...name].reduce((sum, letter) => (sum * 31 + letter.codePointAt(0)) % 360, 7) % 50 + 15;
let path = [tree];
const describe = (frame) => `${frame[0]}: ${count(frame[1])} ${frame[1] === 1 ? "call" : "calls"}, ` +
  `${duration(frame[2])} (${(frame[2] * 100 / Math.max(tree[2], 1)).toFixed(1)} %), ${size(frame[3])} relocated`;
const drawFlame = () => {
  const which = Number(weight.value);
  const frames = [];
  const place = (frame, parents, left, width, row) => {
    frames.push([frame, parents, left, width, row]);
    const children = frame[4].filter((child) => child[which] > 0).sort((a, b) => b[which] - a[which]);
    for (const child of children) {
      const share = width * child[which] / Math.max(frame[which], 1);
      if (share >= 0.05) place(child, [...parents, frame], left, share, row + 1);
      left += share;
    }
  };
  path.slice(0, -1).forEach((frame, row) => frames.push([frame, path.slice(0, row), 0, 100, row]));
  place(path[path.length - 1], path.slice(0, -1), 0, 100, path.length - 1);
  const rows = Math.max(...frames.map((frame) => frame[4])) + 1;
  flame.style.height = `${rows * 21}px`;
  flame.replaceChildren(...frames.map(([frame, parents, left, width, row]) => {
    const button = make("button", frame[0], { type: "button", class: width < 2 ? "frame narrow" : "frame", title: describe(frame) });
    if (width < 2) button.textContent = "";
    button.style.cssText = `left:${left}%;width:${width}%;bottom:${row * 21}px;background:hsl(${hue(frame[0])} 75% 72%)`;
    button.addEventListener("click", () => { path = [...parents, frame]; description.textContent = describe(frame); drawFlame(); });
    button.addEventListener("pointerenter", () => { description.textContent = describe(frame); });
    return button;
  }));
};
weight.addEventListener("change", drawFlame);
drawFlame();
description.textContent = describe(tree);
