// Checks OpenAPI descriptions with Redocly's recommended rules, with the library of its command line.
//
//   node lint.mjs FILE...               prints a line for each finding, including warnings; exit code 1 if any
//   node lint.mjs --self-test FILE      adds one error of each kind to a valid description; fails if one is not found
import { readFileSync } from "node:fs";
import { createConfig, lintFromString } from "@redocly/openapi-core";

const config = await createConfig({ extends: ["recommended"] });

async function findings(text) {
  const problems = await lintFromString({ source: text, absoluteRef: "openapi.json", config });
  return problems.map(({ ruleId, message, location }) => ({ ruleId, message, pointer: location[0]?.pointer }));
}

const ORDERS = "/v1/commands/order.create";

// Errors that the self-test adds, and the rule that must find each.
const PLANTED = {
  "an operation without an operationId": ["operation-operationId", (d) => delete d.paths["/login"].post.operationId],
  "two operations with the same operationId": [
    "operation-operationId-unique",
    (d) => (d.paths["/login"].post.operationId = d.paths["/logout"].post.operationId),
  ],
  "an example that violates its schema": [
    "no-invalid-media-type-examples",
    (d) => (d.paths[ORDERS].post.requestBody.content["application/json"].example.amount = -1),
  ],
  "two patterns for one path": ["no-identical-paths", (d) => (d.paths["/v1/commands/{kind}"] = kindPattern(d))],
  "an operation without security": ["security-defined", (d) => delete d.paths["/v1/users"].get.security],
  "no server": ["no-empty-servers", (d) => delete d.servers],
  "an operation without an error response": [
    "operation-4xx-response",
    (d) => (d.paths["/login"].post.responses = { 200: d.paths["/login"].post.responses[200] }),
  ],
  "no license": ["info-license", (d) => delete d.info.license],
  "a reference to nothing": ["no-unresolved-refs", (d) => delete d.components.schemas.problem],
  "a component that nothing uses": ["no-unused-components", (d) => (d.components.schemas.unused = { type: "string" })],
  "a keyword that OpenAPI does not have": ["struct", (d) => (d.components.schemas.problem.unit = "mm")],
};

function kindPattern(description) {
  const path = structuredClone(description.paths[ORDERS]);
  path.post.operationId = "submit_any";
  path.post.parameters.push({ name: "kind", in: "path", required: true, schema: { type: "string" } });
  return path;
}

async function selfTest(file) {
  const sound = readFileSync(file, "utf8");
  let missed = 0;
  for (const [what, [rule, plant]] of Object.entries(PLANTED)) {
    const description = JSON.parse(sound);
    plant(description);
    const found = await findings(JSON.stringify(description));
    if (!found.some(({ ruleId }) => ruleId === rule)) {
      console.error(`lint: rule ${rule} did not find: ${what}`);
      missed += 1;
    }
  }
  return missed;
}

async function check(files) {
  let count = 0;
  for (const file of files) {
    for (const { ruleId, message, pointer } of await findings(readFileSync(file, "utf8"))) {
      console.error(`lint: ${file} ${pointer}: ${message} (${ruleId})`);
      count += 1;
    }
  }
  return count;
}

const [first, ...rest] = process.argv.slice(2);
const wrong = first === "--self-test" ? await selfTest(rest[0]) : await check([first, ...rest]);
process.exit(wrong === 0 ? 0 : 1);
