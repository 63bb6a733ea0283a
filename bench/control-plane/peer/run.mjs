// Claims and completes trivial jobs with graphile-worker. Prints one JSON line.
//
//     node run.mjs URL JOBS BATCH CONCURRENCY
//
// The time runs from the start of the first task, when its batch has been claimed already, until no job is left in the table.
import { Logger, run, runMigrations } from "graphile-worker";
import pg from "pg";

const [url, ...sizes] = process.argv.slice(2);
const [jobs, batch, concurrency] = sizes.map(Number);
if (!url || sizes.length !== 3 || ![jobs, batch, concurrency].every((n) => Number.isInteger(n) && n > 0)) {
  console.error("usage: node run.mjs URL JOBS BATCH CONCURRENCY");
  process.exit(2);
}

const quiet = new Logger(() => () => {});
const worker = { connectionString: url, concurrentJobs: concurrency, maxPoolSize: concurrency + 1 };
// What its page on performance calls batching. A delay of 0 gathers what ends within one turn of the event loop.
const batching = batch > 1 ? { localQueue: { size: batch }, completeJobBatchDelay: 0, failJobBatchDelay: 0 } : {};
const preset = { worker: { ...worker, ...batching, logger: quiet } };

const pool = new pg.Pool({ connectionString: url, max: 2 });
await runMigrations({ preset });
await pool.query(
  `select graphile_worker.add_jobs(array(
     select json_populate_record(null::graphile_worker.job_spec, json_build_object('identifier', 'nothing', 'payload', json_build_object('n', n)))
     from generate_series(1, $1::int) n))`,
  [jobs],
);
await pool.query("vacuum analyze graphile_worker._private_jobs");

let begun = 0;
let started;
let finish;
const finished = new Promise((resolve) => (finish = resolve));
const nothing = () => {
  started ??= process.hrtime.bigint();
  begun += 1;
  if (begun === jobs) finish();
};
const runner = await run({ preset, taskList: { nothing } });
await finished;
for (let left = 1; left > 0; ) {
  const { rows } = await pool.query("select count(*)::int as left from graphile_worker._private_jobs");
  left = rows[0].left;
}
const seconds = Number(process.hrtime.bigint() - started) / 1e9;
await runner.stop();
await pool.end();
console.log(JSON.stringify({ jobs, batch, concurrency, seconds, jobs_per_s: jobs / seconds }));
process.exit(0);
