// Opens pages in a headless Chromium and collects their errors.
"use strict";
const fs = require("node:fs");
const { launch } = require("./chromium.js");

const AXE = require.resolve("axe-core/axe.min.js");
const RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];

// Opens a page with this size and colour scheme. `complaints` collects errors of the page. A `still` page does not
// refresh itself, like a page in a hidden tab, so that nothing changes during a check.
async function open(browser, url, { width, scheme, script = true, still = false }) {
  const context = await browser.newContext({
    viewport: { width, height: 900 }, colorScheme: scheme, javaScriptEnabled: script, locale: "en-GB",
  });
  const page = await context.newPage();
  const complaints = [];
  const origin = new URL(url).origin;
  page.on("request", request => {
    if (new URL(request.url()).origin !== origin) complaints.push(`request to another origin: ${request.url()}`);
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

// The violations of the accessibility rules, one line each. axe is evaluated in the page, because the page's policy
// does not allow loading it.
async function violations(page) {
  await page.evaluate(fs.readFileSync(AXE, "utf8"));
  const result = await page.evaluate(rules => globalThis.axe.run(document, { runOnly: rules }), RULES);
  const line = ({ id, nodes }) => nodes.map(node => `${id}: ${node.target} ${node.failureSummary.replace(/\s+/g, " ")}`);
  return result.violations.flatMap(line);
}

// The number of pixels by which the page is wider than the window.
function overflow(page) {
  return page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
}

module.exports = { launch, open, violations, overflow };
