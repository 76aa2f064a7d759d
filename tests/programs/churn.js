// Workers with heaps of their own, growing WebAssembly memory, large buffers, a child process.
const { Worker, isMainThread, parentPort, workerData } = require('worker_threads');
const { execFileSync } = require('child_process');
const zlib = require('zlib');

function work(seed) {
  const live = [];
  let sum = 0;
  let state = seed;
  const next = (limit) => (state = (state * 48271) % 2147483647) % limit;
  for (let i = 0; i < 100000; i++) {
    live[next(3000)] = new Array(next(200)).fill(i);
    const other = live[next(3000)];
    if (other) sum += other.length;
  }
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 512 });
  for (let i = 0; i < 200; i++) {
    new Uint8Array(memory.buffer)[i] = i;
    memory.grow(1);
  }
  const bytes = new Uint8Array(memory.buffer, 0, 200);
  let text = Buffer.alloc(10, 'text');
  for (let i = 0; i < 20; i++) text = Buffer.concat([text, text]);
  return [sum, bytes.every((byte, i) => byte === i), text.length];
}

async function main() {
  const results = [1, 2, 3].map((seed) => new Promise((done, fail) => {
    const worker = new Worker(__filename, { workerData: seed });
    worker.on('message', done);
    worker.on('error', fail);
  }));
  console.log(await Promise.all(results));
  console.log(zlib.gunzipSync(zlib.gzipSync(Buffer.alloc(5000000, 'ab'))).length);
  console.log(String(execFileSync('/bin/echo', ['a child'])));
}

if (isMainThread) main();
else parentPort.postMessage(work(workerData));
