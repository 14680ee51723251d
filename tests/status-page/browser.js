// A headless Chromium, and what is watched of every page in it.
"use strict";
const fs = require("node:fs");
const { launch } = require("./chromium.js");

const AXE = require.resolve("axe-core/axe.min.js");
const RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];

// Opens a page of this size and scheme. `complaints` collects what it must not do. A `still` page does not refresh itself,
// as in a tab that nobody sees, so that nothing changes under a check.
async function open(browser, url, { width, scheme, script = true, still = false }) {
  const context = await browser.newContext({
    viewport: { width, height: 900 }, colorScheme: scheme, javaScriptEnabled: script, locale: "en-GB",
  });
  const page = await context.newPage();
  const complaints = [];
  const origin = new URL(url).origin;
  page.on("request", request => {
    if (new URL(request.url()).origin !== origin) complaints.push(`asks another origin: ${request.url()}`);
  });
  page.on("console", message => {
    if (["error", "warning"].includes(message.type())) complaints.push(`console: ${message.text()}`);
  });
  page.on("pageerror", error => complaints.push(`script: ${error}`));
  page.on("requestfailed", request => complaints.push(`failed: ${request.url()} ${request.failure()?.errorText}`));
  if (script) {
    await page.addInitScript(() => {
      window.violations = [];
      document.addEventListener("securitypolicyviolation", event =>
        window.violations.push(`${event.violatedDirective} ${event.blockedURI}`));
    });
  }
  if (still) await page.addInitScript(() => Object.defineProperty(document, "hidden", { get: () => true }));
  await page.goto(url, { waitUntil: "load" });
  return { page, complaints, close: () => context.close() };
}

// The violations of the accessibility rules, one line each. axe is evaluated, not loaded by the page, whose policy would
// not allow it.
async function violations(page) {
  await page.evaluate(fs.readFileSync(AXE, "utf8"));
  const result = await page.evaluate(rules => globalThis.axe.run(document, { runOnly: rules }), RULES);
  const line = ({ id, nodes }) => nodes.map(node => `${id}: ${node.target} ${node.failureSummary.replace(/\s+/g, " ")}`);
  return result.violations.flatMap(line);
}

// By how many pixels the page is wider than the window.
function overflow(page) {
  return page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
}

module.exports = { launch, open, violations, overflow };
