// Nodes as processes of the built binary, on loopback, and what a user does with them on the command line.

import { execFile, spawn } from "node:child_process";
import { closeSync, existsSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { fileURLToPath } from "node:url";

/** @typedef {Record<string, string>} Settings Of a node, as variables of its environment. */

/**
 * What the command line says of a node.
 * @typedef {object} NodeStatus
 * @property {string} role
 * @property {boolean} reachable
 * @property {{name: string, node_id: string, membership: string}} member
 * @property {number} last_index
 * @property {{first_index: number}} storage
 */

/** Longer than anything here takes on a busy machine; a test that waits this long has failed. */
export const PATIENCE_MS = 30_000;
const FILL_PATIENCE_MS = 120_000;

const TARGET = fileURLToPath(new URL("../../../target", import.meta.url));
const PROGRAM = process.env["QUORATE_PROGRAM"] ?? join(TARGET, "release", "quorate");
if (!existsSync(PROGRAM)) throw new Error(`there is no ${PROGRAM}: cargo build --release makes it`);

/** Below those that Linux gives to connections, each of which could take a port until the node listens there. */
const PORTS = { first: 10_000, end: 32_000 };

/** A node's ports: clients, peers, admin, health. */
const PORTS_TOGETHER = 4;

/** Neither nodes nor clients get settings from whoever runs the tests. */
const ENVIRONMENT = Object.fromEntries(
  Object.entries(process.env).filter(([key]) => !/^(QUORATE|OTEL_|TRACE)/.test(key)),
);

/**
 * Waits until `condition` gives something, and answers that.
 * @template T
 * @param {string} what
 * @param {() => Promise<T | null | undefined | false> | T | null | undefined | false} condition
 * @param {number} patience
 * @returns {Promise<T>}
 */
export async function eventually(what, condition, patience = PATIENCE_MS) {
  for (const start = performance.now(); performance.now() - start < patience; await pause(20)) {
    const value = await condition();
    if (value) return value;
  }
  throw new Error(`waited in vain for: ${what}`);
}

/** A node's place: its name, directory and ports stay when the process goes. */
export class Node {
  /**
   * @param {string} directory
   * @param {string} name
   * @param {number} port For clients; the others follow.
   * @param {Settings} settings
   */
  constructor(directory, name, port, settings) {
    this.name = name;
    this.port = port;
    this.settings = settings;
    this.address = `127.0.0.1:${port}`;
    this.peerAddress = `127.0.0.1:${port + 1}`;
    /** Where its page is. */
    this.origin = `http://127.0.0.1:${port + 2}`;
    this.data = join(directory, name);
    this.log = join(directory, `${name}.log`);
    /** @type {import("node:child_process").ChildProcess | null} */
    this.process = null;
  }

  /**
   * Starts the process. It ends with this one, however that ends.
   * @param {Node[]} members Some that it can join.
   */
  start(members) {
    if (this.process) throw new Error(`node ${this.name} runs already`);
    const log = openSync(this.log, "a");
    const command = ["--pdeathsig", "KILL", PROGRAM, "server", "--name", this.name, "--listen", this.address];
    const joins = members.flatMap((member) => ["--join", member.address]);
    this.process = spawn("setpriv", [...command, "--data", this.data, ...joins], {
      env: { ...ENVIRONMENT, ...this.settings },
      stdio: ["ignore", log, log],
    });
    closeSync(log);
  }

  /** A crash: nothing of the process gets to run any more. */
  async kill() {
    const process = this.#running();
    this.process = null;
    const ended = new Promise((resolve) => process.once("exit", resolve));
    process.kill("SIGKILL");
    await ended;
  }

  /** It still has its connections, and does nothing, until `thaw`. */
  freeze() {
    this.#running().kill("SIGSTOP");
  }

  thaw() {
    this.#running().kill("SIGCONT");
  }

  /** The end of what it has told, over all its lives. */
  told() {
    return readFileSync(this.log, "utf8").split("\n").slice(-15).join("\n");
  }

  #running() {
    if (!this.process) throw new Error(`node ${this.name} does not run`);
    return this.process;
  }
}

/** Nodes that belong together, named a, b, c ..., and their directories. */
export class Cluster {
  directory = makeDirectory();
  /** @type {Node[]} */
  nodes = [];

  /**
   * @param {Settings} settings Of all nodes.
   */
  constructor(settings = {}) {
    this.settings = settings;
  }

  /**
   * Starts `size` nodes, and waits until all of them vote, and until the page of each says so: a page that is opened earlier
   * begins with what its node knew while it started.
   * @param {number} size
   */
  async start(size) {
    for (let count = 0; count < size; count += 1) (await this.place()).start(this.nodes.slice(0, -1));
    await eventually(`${size} voters`, async () => (await this.votersUp()) === size);
    const isWhole = (/** @type {Node} */ node) => async () => {
      const { leader, voters_up } = await (await fetch(`${node.origin}/api/cluster`)).json();
      return leader !== null && voters_up === size;
    };
    await Promise.all(
      this.nodes.map((node) => eventually(`${size} voters on the page of ${node.name}`, isWhole(node))),
    );
  }

  /** A place where nobody answers. */
  async nobody() {
    return new Node(this.directory, "nobody", await freePorts(), {});
  }

  /** A place for one more node, which is not started. */
  async place() {
    const name = String.fromCharCode("a".charCodeAt(0) + this.nodes.length);
    const node = new Node(this.directory, name, await freePorts(), this.settings);
    this.nodes.push(node);
    return node;
  }

  /** @param {string} name */
  node(name) {
    const node = this.nodes.find((candidate) => candidate.name === name);
    if (!node) throw new Error(`there is no node ${name}`);
    return node;
  }

  /** The one that leads now. */
  async leader() {
    return eventually("a leader", async () => {
      const leader = (await this.status()).find((node) => node.role === "leader");
      return leader && this.nodes.find((node) => node.name === leader.member.name);
    });
  }

  /** All running nodes that do not lead. */
  async followers() {
    const leader = await this.leader();
    return this.nodes.filter((node) => node !== leader && node.process);
  }

  async votersUp() {
    const status = await this.status();
    return status.filter((node) => node.member.membership === "voter" && node.reachable).length;
  }

  /**
   * What the command line says of every node.
   * @returns {Promise<NodeStatus[]>}
   */
  async status() {
    const output = await this.run(["status", "--output", "json"]).catch(() => null);
    return output ? JSON.parse(output).nodes : [];
  }

  /**
   * Runs a client command, which must succeed, and answers what it printed.
   * @param {string[]} words
   * @param {{ input?: string, at?: Node, timeout?: string, trace?: string }} [how] `at`: asks this node and no other.
   *   `trace`: the trace that it belongs to, as W3C writes it.
   * @returns {Promise<string>}
   */
  run(words, { input = "", at, timeout = "20s", trace } = {}) {
    const endpoints = (at ? [at] : this.nodes).map((node) => node.address).join(",");
    const end = words.includes("--") ? words.indexOf("--") : words.length;
    const all = words.toSpliced(end, 0, "--endpoints", endpoints, "--timeout", timeout);
    return new Promise((resolve, reject) => {
      const options = { env: { ...ENVIRONMENT, ...(trace && { TRACEPARENT: trace }) }, maxBuffer: 64 << 20 };
      const child = execFile(PROGRAM, all, options, (error, output) => (error ? reject(error) : resolve(output)));
      // A command that does not read has perhaps ended by now; how it ended is told above.
      child.stdin?.on("error", () => {});
      child.stdin?.end(input);
    });
  }

  /**
   * Enqueues messages until the log has so many entries.
   * @param {number} entries
   * @param {string} size Of a message.
   */
  async fill(entries, size = "64") {
    const load = [
      "bench",
      "enqueue",
      "--queue",
      "bulk",
      "--size",
      size,
      "--outstanding",
      "512",
      "--duration",
      "2s",
      "--warmup",
      "0s",
    ];
    const last = async () => Math.max(0, ...(await this.status()).map((node) => node.last_index));
    const isFull = async () => (await last()) >= entries || (await this.run(load), false);
    await eventually(`${entries} entries`, isFull, FILL_PATIENCE_MS);
  }

  /** Ends all processes, and removes what they wrote. */
  async end() {
    await Promise.all(this.nodes.filter((node) => node.process).map((node) => node.kill()));
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/** What a test leaves that is killed is removed by the next run of `.ci/dashboard`. */
function makeDirectory() {
  const clusters = join(TARGET, "dashboard", "clusters");
  mkdirSync(clusters, { recursive: true });
  return mkdtempSync(join(clusters, "c-"));
}

/**
 * Workers of one run begin at different places, and so do two runs: a port that was free is not looked for by two at
 * once. None is given out twice, as it is free also while the node that has it is down.
 */
let row = Math.floor(Math.random() * ((PORTS.end - PORTS.first) / PORTS_TOGETHER));

async function freePorts() {
  return eventually("four free ports in a row", async () => {
    row = (row + 1) % ((PORTS.end - PORTS.first) / PORTS_TOGETHER);
    const first = PORTS.first + row * PORTS_TOGETHER;
    const ports = Array.from({ length: PORTS_TOGETHER }, (_, place) => first + place);
    return (await Promise.all(ports.map(isFree))).every(Boolean) && first;
  });
}

/**
 * @param {number} port
 * @returns {Promise<boolean>}
 */
function isFree(port) {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(false));
    server.listen(port, "127.0.0.1", () => server.close(() => resolve(true)));
  });
}
