// Starts the system's Chromium without a window.
"use strict";
const fs = require("node:fs");
const { chromium } = require("playwright-core");

function executable() {
  const candidates = [process.env.FOREBAY_CHROMIUM, "/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
  const found = candidates.find(candidate => candidate && fs.existsSync(candidate));
  if (!found) throw new Error("Chromium is not installed (Debian: apt-get install chromium)");
  return found;
}

async function launch() {
  // Chromium's sandbox does not work for root and on some test machines. It is not needed here, because Chromium opens
  // only pages of the tests.
  return chromium.launch({ executablePath: executable(), args: ["--no-sandbox", "--disable-gpu"] });
}

module.exports = { launch };
