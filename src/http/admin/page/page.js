"use strict";
// Refreshes the page. The daemon renders all sections in one JSON document, exactly as in the page itself. The daemon
// escapes all text. The page's Content-Security-Policy allows no other script than this file.
const INTERVAL_MS = 2000;
// If the daemon does not respond within this time, the page shows a warning.
const TIMEOUT_MS = 10000;
// Size of a chart in its own units, and the maximum distance between the pointer and a shown value.
const WIDTH = 720, HEIGHT = 100, GAP = 18;

const stale = document.getElementById("stale");
const sections = new Map([...document.querySelectorAll("[data-live]")].map(place => [place.dataset.live, place]));
let lastResponse = new Date();

// Whether text in the section is selected. Such a section is not replaced yet.
function isInUse(place) {
  const selection = document.getSelection();
  return selection && !selection.isCollapsed && place.contains(selection.anchorNode);
}

// Replaces the content of a section. Keeps details open, scroll positions, and the focus.
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
      const response = await fetch("/status/page.json" + location.search, { signal: AbortSignal.timeout(TIMEOUT_MS) });
      if (!response.ok) throw new Error(`status ${response.status}`);
      const page = await response.json();
      // New sections appear when the daemon has its first figures, one second after its start.
      if (Object.keys(page.sections).some(name => !sections.has(name))) return location.reload();
      for (const [name, place] of sections) replace(place, page.sections[name] ?? "");
      document.title = page.title;
      lastResponse = new Date();
      stale.hidden = true;
    } catch {
      const since = lastResponse.toISOString().slice(11, 19);
      stale.textContent = `■ The daemon has not responded since ${since} UTC. Everything below is from that time.`;
      stale.hidden = false;
      document.title = "No response – forebay";
    }
  }
  setTimeout(refresh, INTERVAL_MS);
}

// Time and values at the pointer are shown below the chart. Without a pointer, the table shows them.
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
setTimeout(refresh, INTERVAL_MS);
