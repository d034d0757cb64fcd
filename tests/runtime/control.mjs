// Holds the built Worker on workerd for a test: JSON lines in on stdin, one JSON line out for each.
//
//   {"cmd":"start","build":DIR,"folder":DIR,"migrations":DIR,"compatibilityDate":"…","port":0,"vars":{…}} -> {"ok":true,"url":"http://127.0.0.1:…"}
//     with "beside":FILE that module is a second Worker on the same runtime, at /beside/
//   {"cmd":"evict","name":ID,"webSockets":"hibernate"|"close"}   the object named ID leaves memory
//   {"cmd":"objects"}                                             -> {"ok":true,"objects":[…]}
//   {"cmd":"sql","query":"…","params":[…]}                        D1 -> {"ok":true,"rows":[…]}
//   {"cmd":"stop"}                                                ends it all
//
// State lies in `folder` alone, so that a killed runtime starts again where it was. What the Worker logs goes to
// stderr, as does workerd's own. When stdin ends, so does everything.

import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { Log, LogLevel, Miniflare, convertV4MiniflareOptions } from "miniflare";

const WORKER = "bernard";
const OBJECT = "UserObject";

let runtime;

const commands = {
  async start({ build, folder, migrations, compatibilityDate, port, vars, beside }) {
    const log = new Log(LogLevel.WARN);
    log.log = (message) => process.stderr.write(`miniflare: ${message}\n`);
    runtime = new Miniflare(
      convertV4MiniflareOptions({
        host: "127.0.0.1",
        port,
        cf: false, // otherwise it asks the network where it is
        log,
        handleStructuredLogs: ({ level, message }) => process.stderr.write(`${level}: ${message}\n`),
        resourcePersistencePath: join(folder, "shared"),
        isolatedResourcePersistencePath: join(folder, "objects"),
        workers: [
          {
            name: WORKER,
            compatibilityDate,
            modulesRoot: build,
            modules: [
              { type: "ESModule", path: join(build, "index.js") },
              { type: "CompiledWasm", path: join(build, "index_bg.wasm") },
            ],
            bindings: vars,
            d1Databases: { DB: "bernard" },
            durableObjects: { USER: { className: OBJECT, useSQLite: true } },
          },
          ...(beside ? [{ name: "beside", compatibilityDate, modules: true, scriptPath: beside, routes: ["*/beside/*"] }] : []),
        ],
      }),
    );
    const url = await runtime.ready;
    await migrate(await runtime.getD1Database("DB", WORKER), migrations);
    return { url: url.origin };
  },

  async evict({ name, webSockets }) {
    await runtime.unsafeEvictDurableObject(WORKER, OBJECT, { name, webSockets });
    return {};
  },

  async objects() {
    return { objects: await runtime.listDurableObjectIds(OBJECT, WORKER) };
  },

  async sql({ query, params = [] }) {
    const database = await runtime.getD1Database("DB", WORKER);
    const { results } = await database.prepare(query).bind(...params).all();
    return { rows: results };
  },

  async stop() {
    await runtime?.dispose();
    runtime = undefined;
    return {};
  },
};

// Each file once, in the order of names, in the table that wrangler keeps.
async function migrate(database, folder) {
  await database
    .prepare(
      "CREATE TABLE IF NOT EXISTS d1_migrations (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT UNIQUE, applied_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP NOT NULL)",
    )
    .run();
  const { results } = await database.prepare("SELECT name FROM d1_migrations").all();
  const applied = new Set(results.map(({ name }) => name));
  const names = (await readdir(folder)).filter((name) => name.endsWith(".sql")).sort();
  for (const name of names.filter((name) => !applied.has(name))) {
    const file = database.prepare(await readFile(join(folder, name), "utf8"));
    await database.batch([file, database.prepare("INSERT INTO d1_migrations (name) VALUES (?)").bind(name)]);
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  let answer;
  try {
    const { cmd, ...rest } = JSON.parse(line);
    answer = { ok: true, ...(await commands[cmd](rest)) };
  } catch (error) {
    answer = { ok: false, error: String(error?.stack ?? error) };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
await commands.stop();
process.exit(0);
