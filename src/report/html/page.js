"use strict";
document.documentElement.classList.add("js");

// The text of each log before the first search.
const logs = new WeakMap();

function searchLog(input) {
  const lines = input.closest(".log-body").querySelector(".lines");
  if (!logs.has(lines)) logs.set(lines, [...lines.childNodes].map((node) => node.cloneNode(true)));
  const output = input.parentElement.querySelector("output");
  const wanted = input.value.toLowerCase();
  if (wanted === "") {
    lines.replaceChildren(...logs.get(lines).map((node) => node.cloneNode(true)));
    output.value = "";
    return;
  }
  const text = logs.get(lines).map((node) => node.textContent).join("").split("\n");
  const found = document.createDocumentFragment();
  let count = 0;
  for (const line of text) {
    const lower = line.toLowerCase();
    // A character whose lower case is longer would move the marks.
    const places = lower.length === line.length ? lower : line;
    let at = places.indexOf(wanted);
    if (at < 0) continue;
    count += 1;
    let from = 0;
    while (at >= 0) {
      const mark = document.createElement("mark");
      mark.textContent = line.slice(at, at + wanted.length);
      found.append(line.slice(from, at), mark);
      from = at + wanted.length;
      at = places.indexOf(wanted, from);
    }
    found.append(line.slice(from) + "\n");
  }
  lines.replaceChildren(found);
  output.value = count === 1 ? "1 line" : `${count} lines`;
}

function filterTable(input) {
  const rows = document.querySelectorAll(`${input.dataset.filter} tbody tr`);
  const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
  let count = 0;
  for (const row of rows) {
    const text = row.textContent.toLowerCase();
    row.hidden = !words.every((word) => text.includes(word));
    if (!row.hidden) count += 1;
  }
  const output = input.parentElement.querySelector("output");
  output.value = words.length === 0 ? "" : `${count} of ${rows.length}`;
}

document.addEventListener("input", (event) => {
  if (event.target.matches("[data-search]")) searchLog(event.target);
  if (event.target.matches("[data-filter]")) filterTable(event.target);
});

// A large picture begins at its first failure, or at its first base.
for (const picture of document.querySelectorAll(".picture")) {
  const box = picture.querySelector("svg > g g.failed") || picture.querySelector("svg > g g");
  if (!box) continue;
  const [outer, inner] = [picture.getBoundingClientRect(), box.getBoundingClientRect()];
  picture.scrollTop += inner.top - outer.top - picture.clientHeight / 2;
  picture.scrollLeft += Math.max(0, inner.right - outer.left - picture.clientWidth + 24);
}

// The end of a failed log says why.
for (const lines of document.querySelectorAll(".log[open] .lines")) lines.scrollTop = lines.scrollHeight;

// A link to a log opens it.
function openTarget() {
  const id = decodeURIComponent(location.hash.slice(1));
  const target = id && document.getElementById(id);
  const details = target && target.closest("details");
  if (details) {
    details.open = true;
    details.scrollIntoView();
  }
}
window.addEventListener("hashchange", openTarget);
openTarget();
