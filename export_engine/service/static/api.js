// Requests to the API. The key goes into a header and nowhere else.

/** Seconds after which a request without an answer counts as lost. */
const PATIENCE = 30;
/** Seconds after which it is told that an answer takes its time. */
const SLOW = 4;
/** Seconds that are waited at most where the service does not say how long. */
const LONGEST_WAIT = 60;
/** The service, or a proxy before it, is busy or away for a while. */
const BUSY = new Set([429, 502, 503, 504]);

/** An answer that says no; `message` is in plain words, `problems` maps fields of the body to what is wrong with them. */
export class Refused extends Error {
  constructor(status, document) {
    const detail = document?.detail;
    const problems = Array.isArray(detail) ? detail : [];
    const said = problems.map((problem) => problem.msg).join(" ") || detail?.message;
    super(said || `The service answered with an error (${status}).`);
    this.status = status;
    this.jobId = detail?.export_job_id ?? null;
    this.errorId = detail?.error_id ?? null;
    this.problems = new Map(problems.map((problem) => [problem.loc?.[1], problem.msg]));
  }
}

/** Wait; rejects with an AbortError as soon as `signal` is aborted. */
function sleep(seconds, signal) {
  return new Promise((resolve, reject) => {
    const end = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal.removeEventListener("abort", end);
      resolve();
    }, seconds * 1000);
    if (signal.aborted) end();
    else signal.addEventListener("abort", end, { once: true });
  });
}

/** A name for one request, so that the service knows it when it comes again. Also where a page is not served by TLS. */
export function newIdempotencyKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * A function that asks the API about one workspace: `request(method, path, options)` resolves to the answer's
 * `document` and `retryAfter` (seconds, or null), and rejects with `Refused`, or an AbortError once a signal is aborted.
 *
 * While the service is busy or cannot be reached it is asked again, ever later, or when it says; `onWait(why, seconds)`
 * tells of each wait (seconds are null while an answer takes its time) and `onAnswer()` that there was an answer. What
 * changes something may be sent again as well: it is sent with an idempotency key, or does no more the second time.
 */
export function connect(workspace, key, signal) {
  const base = new URL(`api/v1/workspace/${encodeURIComponent(workspace)}/`, document.baseURI);

  async function once(method, path, options, stop) {
    const headers = { Accept: "application/json", "X-API-Key": key };
    if (options.idempotencyKey) headers["Idempotency-Key"] = options.idempotencyKey;
    if (options.body) headers["Content-Type"] = "application/json";
    const answer = await fetch(new URL(path, base), {
      method,
      headers,
      body: options.body && JSON.stringify(options.body),
      cache: "no-store",
      credentials: "omit",
      redirect: "error",
      referrerPolicy: "no-referrer",
      signal: AbortSignal.any([stop, AbortSignal.timeout(PATIENCE * 1000)]),
    });
    const text = await answer.text();
    let content = null;
    try {
      content = text ? JSON.parse(text) : null;
    } catch {
      if (answer.ok) throw new TypeError("an answer that is not the service's");
    }
    return { status: answer.status, document: content, retryAfter: secondsOf(answer.headers.get("Retry-After")) };
  }

  return async function request(method, path, options = {}) {
    const stop = options.signal ? AbortSignal.any([signal, options.signal]) : signal;
    // The key is what people paste: a header cannot hold everything that they may paste.
    if (!/^[\x21-\x7e]+$/.test(key)) throw new Refused(401, null);
    for (let attempt = 0; ; attempt += 1) {
      let answer = null;
      const slow = setTimeout(() => options.onWait?.("Waiting for the service to answer.", null), SLOW * 1000);
      try {
        answer = await once(method, path, options, stop);
      } catch {
        // No answer, or half of one.
      } finally {
        clearTimeout(slow);
      }
      stop.throwIfAborted();
      if (answer && !BUSY.has(answer.status)) {
        options.onAnswer?.();
        if (answer.status >= 400) throw new Refused(answer.status, answer.document);
        return answer;
      }
      const later = Math.min(2 ** (attempt + 1), LONGEST_WAIT);
      const seconds = answer?.retryAfter ?? later;
      options.onWait?.(wordsFor(answer), seconds);
      await sleep(seconds * (1 + Math.random() / 5), stop);
    }
  };
}

function wordsFor(answer) {
  if (answer === null) return "The service cannot be reached.";
  if (answer.status !== 429) return "The service is busy at the moment.";
  return answer.document?.detail?.message ?? "The service has too much to do at the moment.";
}

/** Retry-After has seconds or a date. */
function secondsOf(header) {
  if (!header) return null;
  const seconds = /^\d+$/.test(header) ? Number(header) : (Date.parse(header) - Date.now()) / 1000;
  return Number.isFinite(seconds) ? Math.max(seconds, 1) : null;
}
