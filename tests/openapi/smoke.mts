// A client of two daemons by the types that openapi-typescript makes of their description. The compiler checks it first:
// each `@ts-expect-error` is a mistake that the types have to find.
import createClient from "openapi-fetch";
import type { components, paths } from "./schema.js";

declare const process: { env: Record<string, string> };

type Problem = components["schemas"]["problem"];

const open = createClient<paths>({ baseUrl: process.env.FOREBAY_OPEN! });
const guarded = createClient<paths>({ baseUrl: process.env.FOREBAY_GUARDED! });
const token = { Authorization: `Bearer ${process.env.FOREBAY_TOKEN}` };
const wait = { Prefer: "wait=30" };

function check(holds: boolean, what: string, answer?: unknown): asserts holds {
  if (!holds) throw new Error(`smoke.mts: ${what}: ${JSON.stringify(answer)}`);
}

function problem(error: Problem | undefined, status: number, code: Problem["code"]) {
  check(error?.status === status && error.code === code && error.retryable === false, `expected ${code}`, error);
}

// A command whose outcome is waited for, and its status.
const sent = await open.POST("/v1/commands/order.create", {
  params: { header: wait },
  body: { id: "ts-1", amount: 12 },
});
check(sent.response.status === 200 && sent.data !== undefined && "kafka" in sent.data, "waited", sent);
const state: "sent" | "dead" = sent.data.state;
check(state === "sent" && sent.data.kafka?.topic === "orders.v1", "delivered", sent.data);
const status = await open.GET("/v1/commands/{id}", { params: { path: { id: sent.data.id } } });
check(status.data?.state === "sent" && status.data.key === "ts-1", "status", status);

// Not waited for.
const accepted = await open.POST("/v1/commands/parcel.send", {
  body: { id: "P-0001", to: { city: "Bremen" }, size: "small" },
});
check(accepted.response.status === 202 && accepted.data !== undefined && "durability" in accepted.data, "202", accepted);
const durability: "fsync" = accepted.data.durability;
check(durability === "fsync", "durable", accepted.data);

// What the types of each kind refuse.
const refused = [
  // @ts-expect-error: no `amount`
  open.POST("/v1/commands/order.create", { body: { id: "ts-2" } }),
  // @ts-expect-error: no such size
  open.POST("/v1/commands/parcel.send", { body: { id: "P-0002", to: { city: "Bremen" }, size: "huge" } }),
];
for (const { error } of await Promise.all(refused)) {
  problem(error as Problem, 422, "invalid_command");
}
// @ts-expect-error: no such kind
void (() => open.POST("/v1/commands/parcel.lose", { body: {} }));

// A batch.
const batch = await open.POST("/v1/commands/note.take", {
  params: { header: wait },
  headers: { "Content-Type": "application/x-ndjson" },
  body: '{"id":1}\n{"id":2}\n',
  bodySerializer: (body) => String(body),
});
check(batch.data !== undefined && "commands" in batch.data && batch.data.commands.length === 2, "batch", batch);

// A user, a login, and the wrong password.
const person = { name: "ts", email: "ts@example.org", phone: "+49 30 1234568", password: "correct horse" };
const registered = await open.POST("/v1/users", { params: { header: wait }, body: person });
check(registered.data?.state === "applied", "registered", registered);
const user = await open.GET("/v1/users/{name}", { params: { path: { name: "ts" } } });
check(user.data?.email === person.email && user.data.nickname === null, "user", user);
const taken = await open.POST("/v1/users", { body: { ...person, name: "ts2" } });
check(taken.error?.field === "email", "names the member", taken);
problem(taken.error, 409, "taken");

// Tokens.
const stranger = await guarded.POST("/v1/commands/order.create", { body: { id: "ts-3", amount: 1 } });
check(stranger.response.status === 401, "401", stranger);
problem(stranger.error, 401, "unauthenticated");
const known = await guarded.POST("/v1/commands/order.create", { headers: token, body: { id: "ts-3", amount: 1 } });
check(known.data !== undefined && "id" in known.data && known.data.state === "accepted", "with a token", known);
