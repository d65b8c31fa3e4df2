// Stock Node.js clients: the same calls with ioredis and node-redis; prints {client: [outcome, ...]} as JSON.
// node redis.mjs PORT [USER PASSWORD]
import Redis from "ioredis";
import { createClient } from "redis";

const [port, username, password] = process.argv.slice(2);
const login = username ? { username, password } : {};

// Of each call the reply, or the error's text.
async function outcomes(calls) {
  const found = [];
  for (const call of calls) {
    try {
      found.push((await call()) ?? null);
    } catch (error) {
      found.push(`${error.name}: ${error.message}`);
    }
  }
  return found;
}

async function withIoredis() {
  const r = new Redis({ host: "127.0.0.1", port: Number(port), ...login, maxRetriesPerRequest: 1 });
  const listener = r.duplicate();
  r.defineCommand("both", { numberOfKeys: 1, lua: "return {KEYS[1], ARGV[1]}" });
  const heard = new Promise((resolve) => listener.on("message", (channel, text) => resolve([channel, text])));
  const found = await outcomes([
    () => r.flushall(),
    () => r.ping(),
    () => r.set("{t}a", "1", "EX", 100),
    () => r.get("{t}a"),
    () => r.get("none"),
    () => r.mset({ a: 1, b: 2, c: 3, d: 4 }),
    () => r.mget("a", "b", "none", "d"),
    () => r.del("a", "b", "none"),
    () => r.getBuffer("{t}a").then((one) => one.toString("hex")),
    () => r.hset("{t}h", { f: "1", g: "2" }),
    () => r.hgetall("{t}h"),
    () => r.zadd("{t}z", 1, "a", 2.5, "b"),
    () => r.zrange("{t}z", 0, -1, "WITHSCORES"),
    () => r.rpush("{t}l", "x", "y"),
    () => r.blpop("{t}l", 1),
    () => r.xadd("{t}x", "1-1", "f", "v"),
    () => r.xrange("{t}x", "-", "+"),
    () => r.pipeline().set("p", "1").incr("p").get("none").exec(),
    () => r.multi().set("{t}m", "1").incr("{t}m").exec(),
    () => r.both("{t}a", "v"),
    () => r.keys("{t}*").then((keys) => keys.sort()),
    async () => {
      const keys = [];
      for await (const some of r.scanStream({ match: "{t}*", count: 2 })) keys.push(...some);
      return keys.sort();
    },
    () => Promise.all(Array.from({ length: 200 }, (_, n) => r.set(`n${n}`, n).then(() => r.get(`n${n}`)))),
    () => r.incr("{t}h"),
    () => r.call("NOSUCH", "x"),
    () => listener.subscribe("news"),
    () => r.publish("news", "hello"),
    () => heard,
    () => r.select(0),
    () => r.dbsize(),
    () => r.quit(),
  ]);
  listener.disconnect();
  return found;
}

async function withNodeRedis() {
  const r = createClient({ socket: { host: "127.0.0.1", port: Number(port) }, ...login });
  await r.connect();
  const listener = r.duplicate();
  await listener.connect();
  let heard;
  const news = new Promise((resolve) => (heard = resolve));
  const found = await outcomes([
    () => r.flushAll(),
    () => r.ping(),
    () => r.set("{t}a", "1", { EX: 100 }),
    () => r.get("{t}a"),
    () => r.get("none"),
    () => r.mSet({ a: "1", b: "2", c: "3", d: "4" }),
    () => r.mGet(["a", "b", "none", "d"]),
    () => r.del(["a", "b", "none"]),
    () => r.hSet("{t}h", { f: "1", g: "2" }),
    () => r.hGetAll("{t}h"),
    () => r.zAdd("{t}z", [{ score: 1, value: "a" }, { score: 2.5, value: "b" }]),
    () => r.zRangeWithScores("{t}z", 0, -1),
    () => r.rPush("{t}l", ["x", "y"]),
    () => r.blPop("{t}l", 1),
    () => r.xAdd("{t}x", "1-1", { f: "v" }),
    () => r.xRange("{t}x", "-", "+"),
    () => r.multi().set("{t}m", "1").incr("{t}m").exec(),
    () => r.eval("return {KEYS[1], ARGV[1]}", { keys: ["{t}a"], arguments: ["v"] }),
    () => r.keys("{t}*").then((keys) => keys.sort()),
    async () => {
      const keys = [];
      for await (const key of r.scanIterator({ MATCH: "{t}*", COUNT: 2 })) keys.push(key);
      return keys.sort();
    },
    () => Promise.all(Array.from({ length: 200 }, (_, n) => r.set(`n${n}`, `${n}`).then(() => r.get(`n${n}`)))),
    () => r.incr("{t}h"),
    () => r.sendCommand(["NOSUCH", "x"]),
    () => listener.subscribe("news", (text, channel) => heard([channel, text])),
    () => r.publish("news", "hello"),
    () => news,
    () => r.select(0),
    () => r.dbSize(),
    () => listener.quit(),
    () => r.quit(),
  ]);
  return found;
}

console.log(JSON.stringify({ ioredis: await withIoredis(), "node-redis": await withNodeRedis() }));
process.exit(0);
