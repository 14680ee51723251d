// Usage: node test.js BINARY DIRECTORY [--self-test]
"use strict";
const assert = require("node:assert/strict");
const path = require("node:path");
const { Daemon, until } = require("./daemon.js");
const { launch, open, overflow, violations } = require("./browser.js");

const [binary, work, mode] = process.argv.slice(2);
const SIZES = [360, 1280].flatMap(width => ["light", "dark"].map(scheme => ({ width, scheme })));
const shots = process.env.FOREBAY_PAGE_SHOTS;

// Settings of a daemon with problems: no broker listens at this address, and a backlog of 5 records raises an alert.
const FAILING = { FOREBAY__KAFKA__BROKERS: "127.0.0.1:9", FOREBAY__ALERTS__BACKLOG_THRESHOLD: "5", FOREBAY__ALERTS__INTERVAL: "200ms" };

async function shot(page, name) {
  if (shots) await page.screenshot({ path: path.join(shots, `${name}.png`), fullPage: true });
}

function content(page, name) {
  return page.locator(`[data-live=${name}]`).innerText();
}

// A chart shows the values at the pointer: none ten minutes ago, some now.
async function underPointer(page) {
  const [chart, words] = [page.locator("svg").first(), page.locator(".words").first()];
  const { width } = await chart.boundingBox();
  await chart.hover({ position: { x: 3, y: 5 } });
  assert.match(await words.innerText(), /^\d\d:\d\d:\d\d UTC: nothing recorded\.$/);
  await chart.hover({ position: { x: width - 2, y: 5 } });
  assert.match(await words.innerText(), /^\d\d:\d\d:\d\d UTC: about accepted [\d.]+\/s, delivered 0\/s\.$/);
  await page.locator("h1").hover();
  assert.match(await words.innerText(), /^Delivered: none in this time\. Accepted: /, "the summary again");
}

// Checks of every page: it is accessible, not wider than the window, has no errors, and requests nothing from other
// hosts.
async function isSound({ page, complaints }, what) {
  assert.deepEqual(await violations(page), [], `${what}: accessibility`);
  assert.ok(await overflow(page) <= 0, `${what}: it scrolls sideways by ${await overflow(page)} pixels`);
  assert.deepEqual(await page.evaluate(() => window.violations), [], `${what}: its security policy`);
  assert.deepEqual(complaints, [], what);
}

async function showsProblems(browser, daemon, id) {
  for (const size of SIZES) {
    const what = `with problems, ${size.scheme}, ${size.width} px`;
    const opened = await open(browser, `${daemon.admin}/?command=${id}`, { ...size, still: true });
    const { page } = opened;
    const problems = await content(page, "problems");
    assert.match(problems, /Kafka unreachable[\s\S]*no broker of 127\.0\.0\.1:9 answers/i, what);
    assert.match(problems, /Connection refused/, "the error text of the Kafka client");
    assert.match(problems, /docs\/runbook\.md#kafka_unreachable/);
    assert.match(await page.title(), /^\(\d+\) Kafka unreachable/);
    assert.match(await content(page, "command"), /accepted: on disk/, "the status of the command");
    // The values were recorded before the page was opened, because the page has not refreshed itself.
    const words = await page.locator("svg").first().getAttribute("aria-label");
    assert.match(words, /Accepted: .* now, highest [1-9]/, `values from before the page was opened: ${words}`);
    await page.locator("summary").click();
    await underPointer(page);
    await isSound(opened, what);
    await shot(page, `problems-${size.scheme}-${size.width}`);
    await opened.close();
  }
}

// The script refreshes the values, keeps opened details, and shows when the daemon does not respond.
async function staysCurrent(browser, daemon) {
  const opened = await open(browser, daemon.admin, { width: 1280, scheme: "light" });
  const { page, complaints } = opened;
  await page.locator("summary").click();
  await page.locator("summary").focus();
  const before = await page.locator("dl.tiles .tile", { hasText: "Backlog" }).locator("dd").innerText();
  await daemon.order("later");
  await page.waitForFunction(text => ![...document.querySelectorAll("dl.tiles dd")].some(dd => dd.innerText === text), before);
  assert.equal(await page.locator("details[open]").count(), 1, "open details stay open");
  assert.equal(await page.evaluate(() => document.activeElement.id), "hour-summary", "the focus is kept");
  assert.deepEqual(complaints, []);
  await daemon.stop();
  await page.locator("#stale:not([hidden])").waitFor();
  assert.match(await page.locator("#stale").innerText(), /has not responded since \d\d:\d\d:\d\d UTC/);
  assert.match(await page.title(), /^No response/);
  assert.deepEqual(await violations(page), [], "without the daemon: accessibility");
  await shot(page, "no-response");
  await opened.close();
}

// The page works without the script.
async function worksWithoutScript(browser, daemon, id) {
  const opened = await open(browser, daemon.admin, { width: 1280, scheme: "light", script: false });
  const { page } = opened;
  assert.match(await content(page, "problems"), /Kafka unreachable/);
  await page.getByLabel("Command id").fill(id);
  await page.getByRole("button", { name: "Look up" }).click();
  await page.waitForURL(/command=/);
  assert.match(await content(page, "command"), /order\.create/);
  await page.getByLabel("Command id").fill("<b>nothing</b>");
  await page.getByRole("button", { name: "Look up" }).click();
  await page.waitForURL(/nothing/);
  assert.match(await content(page, "command"), /<b>nothing<\/b>: no such command/, "the typed text is escaped");
  assert.deepEqual(opened.complaints, []);
  await opened.close();
}

async function showsNoProblems(browser, daemon) {
  const id = await daemon.order("healthy");
  await until("the order is sent", 60, async () => {
    const status = await fetch(`${daemon.api}/v1/commands/${id}`).then(response => response.json());
    return status.state === "sent";
  });
  for (const size of SIZES) {
    const opened = await open(browser, `${daemon.admin}/?command=${id}`, { ...size, still: true });
    assert.match(await content(opened.page, "problems"), /No problems/);
    assert.match(await content(opened.page, "state"), /Accepting commands/);
    assert.match(await content(opened.page, "command"), /sent: confirmed by Kafka[\s\S]*orders\.v1, partition/);
    await isSound(opened, `without problems, ${size.scheme}, ${size.width} px`);
    await shot(opened.page, `healthy-${size.scheme}-${size.width}`);
    await opened.close();
  }
}

// Self-test: adds errors that the checks above must find.
async function findsPlanted(browser, daemon) {
  const plants = [
    ["color-contrast", () => { document.querySelector(".hint").style.color = "#aaa"; }],
    ["label", () => document.querySelector("label").remove()],
    ["svg-img-alt", () => document.querySelector("svg").removeAttribute("aria-label")],
  ];
  for (const [rule, plant] of plants) {
    const { page, close } = await open(browser, daemon.admin, { width: 1280, scheme: "light", still: true });
    await page.evaluate(plant);
    const found = await violations(page);
    assert.ok(found.some(line => line.startsWith(`${rule}:`)), `no violation of ${rule} is found: ${found}`);
    await close();
  }
  const { page, complaints, close } = await open(browser, daemon.admin, { width: 360, scheme: "light", still: true });
  await page.evaluate(() => {
    document.querySelector("main").insertAdjacentHTML("beforeend", "<pre>" + "wide ".repeat(100) + "</pre>");
    document.body.insertAdjacentHTML("beforeend", "<img alt='' src='http://127.0.0.1:9/elsewhere.png'>");
    const script = document.createElement("script");
    script.textContent = "window.ran = true";
    document.body.append(script);
  });
  assert.ok(await overflow(page) > 0, "a page that is too wide is not found");
  await page.waitForFunction(() => window.violations.length >= 2);
  assert.equal(await page.evaluate(() => window.ran), undefined, "a script in the page is run");
  assert.ok(complaints.some(line => line.includes("Content Security Policy")), `${complaints}`);
  await close();
}

async function run() {
  const running = [];
  const begin = async (name, settings) => {
    const daemon = await Daemon.start(binary, path.join(work, name), settings);
    running.push(daemon);
    return daemon;
  };
  const browser = await launch();
  try {
    const failing = await begin("failing", FAILING);
    const id = await failing.order("first");
    for (let n = 0; n < 40; n += 1) await failing.order(`order-${n}`);
    // Waits until the daemon has recorded the commands, without opening a page.
    await until("the history has the accepted commands", 30, async () => {
      const page = await fetch(`${failing.admin}/status/page.json`).then(response => response.json());
      return /Accepted: [^.]* highest/.test(page.sections.hour ?? "") && /kafka_unreachable/.test(page.sections.problems);
    });
    await findsPlanted(browser, failing);
    if (mode === "--self-test") return;
    await showsProblems(browser, failing, id);
    await worksWithoutScript(browser, failing, id);
    await showsNoProblems(browser, await begin("healthy", {}));
    await staysCurrent(browser, failing);
  } finally {
    await browser.close();
    await Promise.all(running.map(daemon => daemon.stop()));
  }
}

const begun = Date.now();
run().then(
  () => console.log(`tests/status-page: passed in ${((Date.now() - begun) / 1000).toFixed(0)} s`),
  error => { console.error(error); process.exitCode = 1; },
);
