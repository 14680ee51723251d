// The Mermaid blocks of Markdown pages.
"use strict";
const fs = require("node:fs");
const path = require("node:path");

// README.md and every page below docs/, by their paths in the repository.
function pages(root) {
  const below = fs.readdirSync(path.join(root, "docs"), { recursive: true });
  return ["README.md", ...below.map(name => path.join("docs", name)).sort()].filter(name => name.endsWith(".md"));
}

// The blocks of one page. `line` is the number of the line before the first line of `text`.
function blocksOf(file, content) {
  const blocks = [];
  let open = null;
  content.split("\n").forEach((line, index) => {
    const fence = /^ {0,3}(`{3,}|~{3,})\s*(\S*)/.exec(line);
    if (open && fence && fence[2] === "" && fence[1].startsWith(open.fence)) {
      if (open.isMermaid) blocks.push(open);
      open = null;
    } else if (open) {
      open.lines.push(line);
    } else if (fence) {
      open = { file, line: index + 1, fence: fence[1], isMermaid: fence[2].toLowerCase() === "mermaid", lines: [] };
    }
  });
  // A fence without an end reaches to the end of the page, as on GitHub.
  if (open?.isMermaid) blocks.push(open);
  return blocks.map(block => ({ file, line: block.line, text: block.lines.join("\n") }));
}

function allBlocks(root) {
  return pages(root).flatMap(file => blocksOf(file, fs.readFileSync(path.join(root, file), "utf8")));
}

module.exports = { allBlocks, blocksOf };
