// Speaking with the admin port: requests, and the stream of what happens.

const BACK_OFF_MIN_MS = 500;
const BACK_OFF_MAX_MS = 8000;

/** The node sends twice a second. A stream that is silent for so long is dead, whatever the browser thinks. */
const SILENCE_MAX_MS = 5000;

/** While a stream is refused, it is tried anew so often, and the cluster is asked for instead. */
const REFUSED_MS = 2000;

/** A page that nobody looks at for so long lets its stream go: a browser opens only six connections to one server. */
const HIDDEN_MAX_MS = 60_000;

/** A node gives up what it is asked to do long before, also on a slow network. Whoever waits longer waits for one that hangs. */
const POST_MAX_MS = 60_000;

/** A request that was refused. */
export class ApiError extends Error {
  /**
   * @param {number} status Of HTTP; 0: no answer came.
   * @param {string} reason Such as `NOT_LEADER`.
   * @param {string} message In words.
   * @param {any} [detail] The whole error.
   */
  constructor(status, reason, message, detail) {
    super(message);
    this.name = "ApiError";
    this.status = status;
    this.reason = reason;
    this.detail = detail;
  }

  /** What was asked for may be done all the same: no answer came, or the node had none from the leader. */
  get inDoubt() {
    return this.status === 0 || this.status === 504;
  }
}

/**
 * @param {string} path
 * @param {AbortSignal} [signal]
 * @returns {Promise<any>}
 * @throws {ApiError}
 */
export const get = (path, signal) => request(path, { signal: signal ?? null, cache: "no-store" });

/**
 * @param {string} path
 * @param {object} body
 * @param {string | null} token
 * @returns {Promise<any>}
 * @throws {ApiError}
 */
export async function post(path, body, token) {
  const headers = new Headers({ "Content-Type": "application/json", "X-Quorate-Request": "1" });
  if (token) authorize(headers, token);
  const signal = AbortSignal.timeout(POST_MAX_MS);
  return request(path, { method: "POST", headers, body: JSON.stringify(body), cache: "no-store", signal });
}

/**
 * @param {Headers} headers
 * @param {string} token
 */
function authorize(headers, token) {
  try {
    headers.set("Authorization", `Bearer ${token}`);
  } catch {
    // It has characters that no header can have, and so no token either.
    throw new ApiError(401, "TOKEN_WRONG", "This token is not the right one.");
  }
}

/**
 * @param {string} path
 * @param {RequestInit} how
 */
async function request(path, how) {
  const response = await fetch(path, how).catch((cause) => {
    if (cause instanceof DOMException && cause.name === "AbortError") throw cause;
    throw new ApiError(0, "UNREACHABLE", "The node does not answer.");
  });
  const answer = await response.json().catch(() => null);
  if (response.ok && answer !== null) return answer;
  const error = answer?.error ?? {};
  const words = error.message || `The node answered with status ${response.status}.`;
  throw new ApiError(response.status, error.reason ?? "UNKNOWN", words, error);
}

/**
 * Listens to a stream of server-sent events for as long as the page lives, and connects anew whenever it breaks.
 * @param {string} path
 * @param {string[]} topics
 * @param {(topic: string, value: any) => void} onMessage
 * @param {(connected: boolean) => void} onConnection
 * @param {(refusal: ApiError | null) => void} onRefused The node answers, and serves no more streams; null: that
 *   is not known, or over.
 */
export function listen(path, topics, onMessage, onConnection, onRefused) {
  /** @type {EventSource | null} */
  let source = null;
  let backOff = BACK_OFF_MIN_MS;
  let silence = 0;
  let retry = 0;
  let hidden = 0;

  /** @param {boolean} again */
  const close = (again) => {
    source?.close();
    source = null;
    clearTimeout(silence);
    clearTimeout(retry);
    onConnection(false);
    if (!again) return;
    retry = setTimeout(open, backOff * (0.75 + Math.random() / 2));
    backOff = Math.min(backOff * 2, BACK_OFF_MAX_MS);
  };
  const alive = () => {
    clearTimeout(silence);
    silence = setTimeout(close, SILENCE_MAX_MS, true);
  };
  const open = () => {
    source = new EventSource(path);
    alive();
    let answered = false;
    source.onerror = async () => {
      close(false);
      if (!answered) await askWhy();
      if (!source && !document.hidden) close(true);
    };
    for (const topic of topics) {
      source.addEventListener(topic, (event) => {
        alive();
        answered = true;
        backOff = BACK_OFF_MIN_MS;
        onConnection(true);
        onMessage(topic, JSON.parse(event.data));
      });
    }
  };
  // The browser does not tell with which words a stream was refused, so the same is asked for in another way.
  const askWhy = async () => {
    const controller = new AbortController();
    const patience = setTimeout(() => controller.abort(), SILENCE_MAX_MS);
    try {
      const response = await fetch(path, { signal: controller.signal, cache: "no-store" });
      if (response.status !== 503) return onRefused(null);
      const { error } = await response.json();
      onRefused(new ApiError(response.status, error.reason, error.message, error));
      backOff = REFUSED_MS / 1.25;
      onMessage("cluster", await get("api/cluster", controller.signal));
    } catch {
      // The node does not answer: the stream is tried anew all the same.
      onRefused(null);
    } finally {
      clearTimeout(patience);
      controller.abort();
    }
  };
  document.addEventListener("visibilitychange", () => {
    clearTimeout(hidden);
    if (document.hidden) hidden = setTimeout(close, HIDDEN_MAX_MS, false);
    else if (!source) {
      clearTimeout(retry);
      open();
    }
  });
  open();
}
