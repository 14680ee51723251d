// Renders blocks with Mermaid, one after the other, and describes the first error of each.
"use strict";
const path = require("node:path");

const BUNDLE = path.join(path.dirname(require.resolve("mermaid/package.json")), "dist", "mermaid.min.js");
// Pixels. GitHub shows a page in a column of about 850 pixels and shrinks a wider picture. Text of 16 pixels becomes 12.
const WIDEST = 1100;

// A page that reaches no host.
async function open(browser) {
  const context = await browser.newContext({ viewport: { width: 1200, height: 900 }, deviceScaleFactor: 2 });
  await context.route("**/*", route => route.abort());
  const page = await context.newPage();
  await page.setContent("<!doctype html><meta charset=utf-8><body style='background: white'><div id=diagram></div>");
  await page.addScriptTag({ path: BUNDLE });
  // As on GitHub: labels without scripts and links.
  await page.evaluate(() => globalThis.mermaid.initialize(
    { startOnLoad: false, securityLevel: "strict", suppressErrorRendering: true }));
  return page;
}

// In the page. The picture replaces the previous one.
async function draw(text) {
  const place = document.querySelector("#diagram");
  place.replaceChildren();
  try {
    await globalThis.mermaid.parse(text);
    const { svg } = await globalThis.mermaid.render("picture", text);
    place.innerHTML = svg;
  } catch (error) {
    return { error: String(error?.message ?? error), line: error?.hash?.loc?.first_line ?? error?.hash?.line };
  }
  const { width, height } = place.querySelector("svg").viewBox.baseVal;
  place.style.width = `${width}px`;
  return { width, height };
}

// The line of the block, from 1, at which the parser stopped; 0 if unknown. For an end that is missing it names the line after the last.
function lineOf({ error, line }, text) {
  const named = /\bline:? (\d+)/i.exec(error);
  return Math.min(Number(named?.[1] ?? line ?? 0), text.trimEnd().split("\n").length);
}

// Null, or the error, with the file and the line.
async function findingOf(page, block) {
  const drawn = await page.evaluate(draw, block.text);
  const at = line => `${block.file}:${block.line + line}`;
  if (drawn.error !== undefined) return `${at(lineOf(drawn, block.text))}: ${drawn.error}`;
  if (!(drawn.width > 0 && drawn.height > 0)) return `${at(0)}: the picture is empty`;
  if (drawn.width > WIDEST) return `${at(0)}: ${Math.round(drawn.width)} pixels wide, at most ${WIDEST} are readable on GitHub`;
  return null;
}

module.exports = { open, findingOf };
