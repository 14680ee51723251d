"use strict";
// Keeps the page current. Every section comes from one JSON document of one moment, rendered by the daemon as in the page
// itself. The daemon escapes whatever is text, and the page's policy runs no script but this file.
const EVERY_MS = 2000;
// A daemon that does not answer within this time is told as such.
const PATIENCE_MS = 10000;
// A chart's own units, and how far from the pointer a value may be.
const WIDTH = 720, HEIGHT = 100, GAP = 18;

const stale = document.getElementById("stale");
const sections = new Map([...document.querySelectorAll("[data-live]")].map(place => [place.dataset.live, place]));
let answered = new Date();

// A section in which text is being selected stays as it is for the moment.
function isInUse(place) {
  const selection = document.getSelection();
  return selection && !selection.isCollapsed && place.contains(selection.anchorNode);
}

// What a person has opened stays open, and what has the focus keeps it.
function replace(place, html) {
  if (place.received === html || isInUse(place)) return;
  const open = [...place.querySelectorAll("details[open]")].map(details => details.id);
  const focused = place.contains(document.activeElement) ? document.activeElement : null;
  const scrolled = [...place.querySelectorAll(".scroll")].map(region => region.scrollLeft);
  const regions = [...place.querySelectorAll(".scroll")];
  const at = regions.indexOf(focused);
  place.innerHTML = html;
  place.received = html;
  open.forEach(id => { const details = document.getElementById(id); if (details) details.open = true; });
  [...place.querySelectorAll(".scroll")].forEach((region, n) => {
    region.scrollLeft = scrolled[n] ?? 0;
    if (n === at) region.focus({ preventScroll: true });
  });
  if (focused?.id) document.getElementById(focused.id)?.focus({ preventScroll: true });
}

async function refresh() {
  if (!document.hidden) {
    try {
      const answer = await fetch("/status/page.json" + location.search, { signal: AbortSignal.timeout(PATIENCE_MS) });
      if (!answer.ok) throw new Error(`status ${answer.status}`);
      const page = await answer.json();
      // Sections that were not there begin with the daemon's figures, a second after its start.
      if (Object.keys(page.sections).some(name => !sections.has(name))) return location.reload();
      for (const [name, place] of sections) replace(place, page.sections[name] ?? "");
      document.title = page.title;
      answered = new Date();
      stale.hidden = true;
    } catch {
      const since = answered.toISOString().slice(11, 19);
      stale.textContent = `■ The daemon has not answered since ${since} UTC. Everything below is of that time.`;
      stale.hidden = false;
      document.title = "No answer – forebay";
    }
  }
  setTimeout(refresh, EVERY_MS);
}

// The moment and the values under the pointer stand below their chart. The table has them without a pointer.
function inUnit(value, unit) {
  if (unit === "s" && value >= 60) return `${(value / 60).toFixed(1)} min`;
  const digits = value < 10 && value % 1 ? 1 : 0;
  return Number(value.toFixed(digits)).toLocaleString("en") + (unit === "s" ? " s" : unit);
}

function valueAt(line, x, top) {
  const points = [...line.getAttribute("d").matchAll(/[ML]([\d.]+) ([\d.]+)/g)].map(([, x, y]) => [Number(x), Number(y)]);
  const nearest = points.reduce((best, point) => Math.abs(point[0] - x) < Math.abs(best[0] - x) ? point : best, [Infinity, 0]);
  return Math.abs(nearest[0] - x) <= GAP ? top * (1 - nearest[1] / HEIGHT) : null;
}

function readOut(event) {
  const chart = event.target.closest?.("svg[data-until]");
  if (!chart) return;
  const { left, width } = chart.getBoundingClientRect();
  const { from, until, top, unit } = chart.dataset;
  const at = Math.min(1, Math.max(0, (event.clientX - left) / width));
  const moment = new Date(Date.parse(from) + at * (Date.parse(until) - Date.parse(from)));
  const values = [...chart.querySelectorAll(".line")].reverse()
    .map(line => [line.dataset.name, valueAt(line, at * WIDTH, Number(top))])
    .filter(([, value]) => value !== null)
    .map(([name, value]) => `${name} ${inUnit(value, unit)}`);
  chart.querySelector(".cursor").setAttribute("d", `M${at * WIDTH} 0V${HEIGHT}`);
  const words = chart.closest("figure").querySelector(".words");
  words.dataset.still ??= words.textContent;
  const shown = values.length ? `about ${values.join(", ")}` : "nothing recorded";
  words.textContent = `${moment.toISOString().slice(11, 19)} UTC: ${shown}.`;
}

function endReadOut(event) {
  const chart = event.target.closest?.("svg[data-until]");
  if (chart?.contains(event.relatedTarget)) return;
  const words = chart?.closest("figure").querySelector(".words");
  if (!words?.dataset.still) return;
  words.textContent = words.dataset.still;
  chart.querySelector(".cursor").removeAttribute("d");
}

document.addEventListener("pointermove", readOut);
document.addEventListener("pointerout", endReadOut);
setTimeout(refresh, EVERY_MS);
