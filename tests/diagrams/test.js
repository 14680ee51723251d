// Usage: node test.js REPOSITORY [--self-test]
"use strict";
const assert = require("node:assert/strict");
const path = require("node:path");
const { launch } = require("../status-page/chromium.js");
const { allBlocks, blocksOf } = require("./blocks.js");
const { findingOf, open } = require("./render.js");

const [root, mode] = process.argv.slice(2);
const shots = process.env.FOREBAY_DIAGRAM_SHOTS;

const GOOD = "# A page\n\n```mermaid\nflowchart LR\n  a --> b\n```\n\n```text\n```mermaid\na -> b\n```\n";
// Pages with one error each, and how the finding has to begin.
const PLANTED = [
  ["a broken arrow", "```mermaid\nflowchart LR\n  a --> b\n  b -> > c\n```\n", /^x\.md:4: Parse error/],
  ["a bracket that is not closed", "text\n\n```mermaid\nflowchart LR\n  a[one --> b\n```\n", /^x\.md:5: Parse error/],
  ["an unknown type", "```mermaid\nflowchat LR\n  a --> b\n```\n", /^x\.md:1: No diagram type detected/],
  ["a transition without a target", "```mermaid\nstateDiagram-v2\n  a --> b\n  b -->\n```\n", /^x\.md:4: Parse error/],
  ["a message without a text", "```mermaid\nsequenceDiagram\n  A->>B\n```\n", /^x\.md:3: Parse error/],
  ["a block without an end", "```mermaid\nflowchart LR\n  a --> b\n\nThe next paragraph.\n", /^x\.md:5: Parse error/],
  ["an upper-case fence", "```Mermaid\nflowchart LR\n  a ->\n```\n", /^x\.md:3: Parse error/],
  ["a picture that is too wide", `\`\`\`mermaid\nflowchart LR\n  ${Array.from("abcdefghijklmnopqrst").join(" --> ")}\n\`\`\`\n`, /^x\.md:1: \d+ pixels wide/],
];

// Each planted error is found, and a page without an error has no finding.
async function findsPlanted(page) {
  const good = blocksOf("x.md", GOOD);
  assert.deepEqual(good.map(block => block.line), [3], "blocks of the page without an error");
  assert.equal(await findingOf(page, good[0]), null);
  for (const [what, content, expected] of PLANTED) {
    const [block, ...others] = blocksOf("x.md", content);
    assert.deepEqual(others, [], what);
    const finding = await findingOf(page, block) ?? "no finding";
    assert.match(finding, expected, `${what}: ${finding}`);
    assert.equal(await findingOf(page, good[0]), null, `after ${what}: the page without an error`);
  }
}

async function run() {
  const browser = await launch();
  try {
    const page = await open(browser);
    await findsPlanted(page);
    if (mode === "--self-test") return `${PLANTED.length} planted errors found`;
    const blocks = allBlocks(root);
    assert.notEqual(blocks.length, 0, "no diagram found: has the form of the blocks changed?");
    const findings = [];
    for (const block of blocks) {
      const finding = await findingOf(page, block);
      if (finding !== null) findings.push(`tests/diagrams: ${finding}`);
      const name = `${block.file.replaceAll("/", "-")}-${block.line}.png`;
      if (shots && finding === null) await page.locator("#diagram").screenshot({ path: path.join(shots, name) });
    }
    if (findings.length > 0) throw new Error(findings.join("\n"));
    return `${blocks.length} diagrams rendered, ${PLANTED.length} planted errors found`;
  } finally {
    await browser.close();
  }
}

const begun = Date.now();
run().then(
  result => console.log(`tests/diagrams: ${result} in ${((Date.now() - begun) / 1000).toFixed(0)} s`),
  error => { console.error(error.message); process.exitCode = 1; },
);
