// Starts a headless Chromium: the system's.
"use strict";
const fs = require("node:fs");
const { chromium } = require("playwright-core");

function executable() {
  const candidates = [process.env.FOREBAY_CHROMIUM, "/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
  const found = candidates.find(candidate => candidate && fs.existsSync(candidate));
  if (!found) throw new Error("there is no Chromium (Debian: apt-get install chromium)");
  return found;
}

async function launch() {
  // Chromium's own sandbox needs rights that a test machine, or root, may not have. It opens only pages of the tests.
  return chromium.launch({ executablePath: executable(), args: ["--no-sandbox", "--disable-gpu"] });
}

module.exports = { launch };
