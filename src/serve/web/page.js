// Keeps an open page fresh: the server says when something changed, and the part `#live` is loaded again.
const LINES = 5000;
let loading = false;
let again = false;

async function refresh() {
  if (loading) { again = true; return; }
  loading = true;
  do {
    again = false;
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const fresh = page.getElementById("live");
      const old = document.getElementById("live");
      if (answer.ok && fresh && old && !isUsed(old)) replace(old, fresh);
    } catch {
      // The next event tries again.
    }
    await new Promise((done) => setTimeout(done, 500));
  } while (again);
  loading = false;
}

// What a user opened, typed or scrolled stays.
function replace(old, fresh) {
  const filters = [...old.querySelectorAll("input[data-filter]")].map((input) => input.value);
  const scrolled = [...old.querySelectorAll(".scroll")].map((part) => [part.scrollLeft, part.scrollTop]);
  const open = [...old.querySelectorAll("details")].map((part) => part.open);
  old.replaceWith(fresh);
  fresh.querySelectorAll("input[data-filter]").forEach((input, n) => {
    input.value = filters[n] ?? "";
    if (input.value) input.dispatchEvent(new Event("input", { bubbles: true }));
  });
  fresh.querySelectorAll(".scroll").forEach((part, n) => {
    if (scrolled[n]) [part.scrollLeft, part.scrollTop] = scrolled[n];
  });
  fresh.querySelectorAll("details").forEach((part, n) => { if (open[n]) part.open = true; });
}

function isUsed(part) {
  const selection = document.getSelection();
  return part.contains(document.activeElement) && document.activeElement.matches("input, textarea")
    || selection && !selection.isCollapsed && part.contains(selection.anchorNode);
}

// The lines of the live log that have not been written to the page.
let lines = [];
let kept = [];

function show() {
  const log = document.getElementById("live-log");
  if (!log || lines.length === 0) return;
  const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
  kept = kept.concat(lines).slice(-LINES);
  const wanted = document.querySelector("[data-live-search]")?.value.toLowerCase() ?? "";
  if (wanted) {
    draw(wanted);
  } else {
    log.append(lines.map((line) => line + "\n").join(""));
    while (log.childNodes.length > 200) log.firstChild.remove();
  }
  lines = [];
  if (atEnd) log.scrollTop = log.scrollHeight;
}

function draw(wanted) {
  const log = document.getElementById("live-log");
  const found = wanted ? kept.filter((line) => line.toLowerCase().includes(wanted)) : kept;
  log.textContent = found.map((line) => line + "\n").join("");
  const output = document.querySelector("[data-live-search]").parentElement.querySelector("output");
  output.value = wanted ? `${found.length} of ${kept.length} lines` : "";
}

document.addEventListener("input", (event) => {
  if (event.target.matches("[data-live-search]")) draw(event.target.value.toLowerCase());
});

function take(event) {
  switch (event.event) {
    case "log": lines.push(`${event.node}: ${event.line}`); return false;
    case "build-step": lines.push(`${event.node}: step ${event.number} of ${event.total}: ${event.text}`); return false;
    case "phase-started": lines.push(`${event.node}: ${event.phase.name}`); return false;
    case "warning": lines.push(`warning: ${event.message}`); return true;
    case "step-finished": lines.push(`${event.node}: ${event.outcome} after ${event.seconds.toFixed(1)} s`); return true;
    default: return true;
  }
}

function follow(address) {
  const source = new EventSource(address);
  source.addEventListener("changed", (message) => {
    if (message.data === document.body.dataset.changes) return;
    document.body.dataset.changes = message.data;
    refresh();
  });
  source.addEventListener("message", (message) => {
    if (take(JSON.parse(message.data))) refresh();
  });
  source.addEventListener("end", () => {
    source.close();
    // The page of a run that is over has the logs and other buttons.
    setTimeout(() => location.reload(), 700);
  });
}

document.documentElement.classList.add("js");
const address = document.body.dataset.events;
if (address) follow(address);
else if (address === "") setInterval(refresh, 5000);
setInterval(show, 200);
// `3 minutes ago` becomes `4 minutes ago`.
if (address) setInterval(refresh, 60000);
