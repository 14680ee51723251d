// Starts the real daemon on free ports, in a directory that the caller removes.
"use strict";
const { spawn } = require("node:child_process");
const fs = require("node:fs");
const net = require("node:net");
const path = require("node:path");

// A free port. It is outside of the range that the kernel uses for outgoing connections, and of the range of the test
// programs (tests/support/src/ports.rs: 15000 and above), which may run at the same time.
async function freePort() {
  for (;;) {
    const port = 10000 + Math.floor(Math.random() * 5000);
    const isFree = await new Promise(resolve => {
      const server = net.createServer();
      server.on("error", () => resolve(false));
      server.listen(port, "127.0.0.1", () => server.close(() => resolve(true)));
    });
    if (isFree) return port;
  }
}

// Calls `check` until it returns a value. Fails after `seconds`.
async function until(what, seconds, check) {
  const end = Date.now() + seconds * 1000;
  for (;;) {
    const found = await check();
    if (found) return found;
    if (Date.now() > end) throw new Error(`not true after ${seconds} s: ${what}`);
    await new Promise(resolve => setTimeout(resolve, 100));
  }
}

class Daemon {
  static async start(binary, dir, settings = {}) {
    const [port, adminPort] = [await freePort(), await freePort()];
    const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("FOREBAY_")));
    Object.assign(env, {
      FOREBAY__SERVER__LISTEN: `127.0.0.1:${port}`,
      FOREBAY__SERVER__ADMIN_LISTEN: `127.0.0.1:${adminPort}`,
      FOREBAY__WAL__SEGMENT_SIZE: "1MiB",
      FOREBAY__WAL__RESERVE_SPACE: "1MiB",
      ...settings,
    });
    fs.mkdirSync(dir, { recursive: true });
    const log = path.join(dir, "daemon.log");
    const output = fs.openSync(log, "w");
    const child = spawn(binary, ["serve"], { cwd: dir, env, stdio: ["ignore", output, output] });
    const daemon = new Daemon(child, log, `http://127.0.0.1:${port}`, `http://127.0.0.1:${adminPort}`);
    await until("the daemon is ready", 60, async () => {
      if (child.exitCode !== null) throw new Error(`the daemon ended:\n${fs.readFileSync(log, "utf8")}`);
      return fetch(`${daemon.admin}/readyz`).then(response => response.ok, () => false);
    });
    return daemon;
  }

  constructor(child, log, api, admin) {
    Object.assign(this, { child, log, api, admin });
  }

  // Submits one order and returns its command id.
  async order(id) {
    const body = JSON.stringify({ id, amount: 1 });
    const headers = { "content-type": "application/json" };
    const response = await fetch(`${this.api}/v1/commands/order.create`, { method: "POST", headers, body });
    if (response.status !== 202) throw new Error(`${response.status}: ${await response.text()}`);
    return (await response.json()).id;
  }

  async stop() {
    if (this.child.exitCode === null) {
      const ended = new Promise(resolve => this.child.once("exit", resolve));
      this.child.kill("SIGTERM");
      const late = setTimeout(() => this.child.kill("SIGKILL"), 20000);
      await ended;
      clearTimeout(late);
    }
  }
}

module.exports = { Daemon, until };
