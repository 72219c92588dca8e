// The page: signing in, starting exports and watching them, with the API alone.

import { connect, newIdempotencyKey, Refused } from "./api.js";
import { countsOf, isActive, newCard, showJob, stateOf, titleOf } from "./card.js";
import { addChannels, chooseChannel, clearChannels } from "./channels.js";
import { milliseconds, TIMEZONE, today, usualRange } from "./format.js";

/** Seconds between two looks at a job where the service does not say. */
const POLL = 2;
/** Seconds between two times that progress is told to who does not see it. */
const TELL = 15;
/** Seconds after which an export is looked at again whose state could not be understood. */
const LATER = 30;
/** Seconds after which what does not change is looked at all the same: a timer can only wait for some days. */
const LONGEST = 86_400;
/** How many exports and channels are asked for at a time. */
const EXPORTS = 20;
const CHANNELS = 1000;

const STARTED = "The export has been started. You can close this page and come back for it.";

const at = (id) => document.getElementById(id);
const fields = { channel_id: at("channel"), start_date: at("start"), end_date: at("end"), notification_email: at("email") };
const list = at("export-list");

/** What is known while somebody is signed in, null otherwise. */
let session = null;
/** What was filled in when a key ceased to hold, for who signs in to the same workspace again; null otherwise. */
let draft = null;

// What is shown

function say(element, words) {
  element.textContent = words;
  element.hidden = !words;
}

function announce(words) {
  at("announcer").textContent = words;
}

/** Shown until there is an answer. */
const trouble = {
  waiting: false,
  onWait(why, seconds) {
    trouble.waiting = true;
    say(at("trouble"), waitingWords(why, seconds));
  },
  onAnswer() {
    if (trouble.waiting) say(at("trouble"), "");
    trouble.waiting = false;
  },
};

/** Shown until something else is asked for. */
function sayTrouble(words) {
  trouble.waiting = false;
  say(at("trouble"), words);
}

function waitingWords(why, seconds) {
  if (seconds === null) return why;
  const whole = Math.ceil(seconds);
  return `${why} Trying again in ${whole === 1 ? "a second" : `${whole} seconds`}.`;
}

/** Do what a button asks for, once at a time. The button is not `disabled`: that would take the focus away. */
async function whileBusy(button, act) {
  if (button.ariaDisabled === "true") return;
  button.ariaDisabled = "true";
  try {
    await act();
  } finally {
    button.ariaDisabled = null;
  }
}

// The session: workspace and key, in this tab alone

function remember(values) {
  try {
    sessionStorage.clear();
    for (const [name, value] of Object.entries(values)) sessionStorage.setItem(name, value);
  } catch {
    // A browser that keeps nothing: the next time both are asked for again.
  }
}

function remembered(name) {
  try {
    return sessionStorage.getItem(name);
  } catch {
    return null;
  }
}

function showSignIn(words = "") {
  session?.end.abort();
  session = null;
  remember({});
  clearChannels();
  list.replaceChildren();
  at("export-form").reset();
  at("key").value = "";
  for (const id of ["trouble", "export-error", "export-wait", "export-done"]) say(at(id), "");
  for (const id of ["session", "new-export", "exports"]) at(id).hidden = true;
  at("sign-in").hidden = false;
  say(at("sign-in-error"), words);
  at(at("workspace").value ? "key" : "workspace").focus();
}

async function signIn(workspace, key) {
  const end = new AbortController();
  session = { workspace, end, request: connect(workspace, key, end.signal), jobs: new Map(), cursor: null };
  const mine = session;
  say(at("sign-in-error"), "");
  const signedIn = async () => {
    const more = await channelsFrom(mine, null);
    remember({ workspace, key });
    at("key").value = "";
    at("sign-in").hidden = true;
    at("session-workspace").textContent = workspace;
    history.replaceState(null, "", `#workspace=${encodeURIComponent(workspace)}`);
    for (const id of ["session", "new-export", "exports"]) at(id).hidden = false;
    setRange("last-month");
    const filledIn = draft?.workspace === workspace ? draft.values : null;
    draft = null;
    if (filledIn) fillIn(filledIn);
    at("new-export-title").focus();
    await Promise.all([restOfChannels(mine, more), exportsFrom(mine, null)]);
    // It may have been among the rest.
    if (filledIn && !fields.channel_id.value) chooseChannel(filledIn.channel_id);
  };
  await attempt(mine, signedIn, (words) => (at("sign-in").hidden ? sayTrouble(words) : say(at("sign-in-error"), words)));
}

/** Do something with the API; what goes wrong is said, and a key that does not hold leads back to the form. */
async function attempt(mine, act, show = sayTrouble) {
  if (show === sayTrouble && !trouble.waiting) sayTrouble("");
  try {
    await act();
  } catch (error) {
    if (mine !== session || error.name === "AbortError") return;
    if (!(error instanceof Refused)) {
      show("Something went wrong on this page. Reload it to go on.", error);
      throw error;
    }
    if (error.status === 401) showSignIn(wrongKey(mine));
    else show(wordsOf(error), error);
  }
}

function wrongKey({ workspace }) {
  if (!at("sign-in").hidden) {
    return "This key does not open this workspace. Check both, and that the key has not been revoked.";
  }
  if (!at("new-export").hidden) draft = { workspace, values: values() };
  return "You were signed out: the key does not hold for this workspace any more.";
}

function wordsOf(error) {
  return error.errorId ? `${error.message} error_id: ${error.errorId}` : error.message;
}

// Channels

async function channelsFrom(mine, cursor) {
  const after = cursor === null ? "" : `&cursor=${encodeURIComponent(cursor)}`;
  const { document: page } = await mine.request("GET", `channels?limit=${CHANNELS}${after}`, trouble);
  addChannels(page.channels, page.next_cursor === null);
  return page.next_cursor;
}

async function restOfChannels(mine, cursor) {
  while (cursor !== null) cursor = await channelsFrom(mine, cursor);
}

// Days

function showLimits() {
  limit(fields.start_date, "max", today());
  limit(fields.end_date, "min", fields.start_date.value);
}

/** Set what differs alone: a field that is being typed in would begin anew. */
function limit(field, name, day) {
  if (field[name] !== day) field[name] = day;
}

function setRange(name) {
  const day = today() || new Date().toISOString().slice(0, 10);
  [fields.start_date.value, fields.end_date.value] = usualRange(name, day);
  showLimits();
}

// What is filled in

function values() {
  return Object.fromEntries(Object.entries(fields).map(([name, field]) => [name, field.value.trim()]));
}

function fillIn(filledIn) {
  for (const [name, field] of Object.entries(fields)) field.value = filledIn[name];
  showLimits();
}

// Starting an export

/** Ask for an export; a second time with the same key if there is no answer, so that there is never a second export. */
async function start(body) {
  const mine = session;
  const stop = new AbortController();
  const [wait, done, giveUp] = [at("export-wait"), at("export-done"), at("give-up")];
  const options = {
    body,
    idempotencyKey: newIdempotencyKey(),
    signal: stop.signal,
    onWait(why, seconds) {
      say(wait, waitingWords(why, seconds));
      giveUp.hidden = false;
    },
    onAnswer: () => say(wait, ""),
  };
  giveUp.onclick = () => stop.abort();
  say(at("export-error"), "");
  say(done, "");
  markFields(new Map());
  await attempt(
    mine,
    async () => {
      const { document: accepted } = await mine.request("POST", "export-conversations", options);
      // What the service says is about its e-mail; without one it is for programs.
      say(done, body.notification_email ? accepted.message : STARTED);
      await look(mine, accepted.export_job_id);
    },
    (words, refused) => {
      say(at("export-error"), words);
      markFields(refused.problems ?? new Map());
      // It runs already: here it is.
      if (refused.jobId) attempt(mine, async () => focusOn(await look(mine, refused.jobId)));
    },
  );
  if (!giveUp.hidden) {
    giveUp.hidden = true;
    at("start-button").focus();
  }
  if (stop.signal.aborted) {
    // It may have been asked for all the same: then it is in the list.
    say(wait, "");
    await attempt(mine, () => exportsFrom(mine, null));
  }
}

function markFields(problems) {
  for (const [name, field] of Object.entries(fields)) {
    field.ariaInvalid = problems.has(name) ? "true" : null;
    if (problems.has(name)) field.focus();
  }
}

// The exports

/** Show a job, new or known: the newest are on top. Returns what is kept of it. */
function keep(mine, job) {
  let kept = mine.jobs.get(job.export_job_id);
  if (kept === undefined) {
    kept = { job, timer: null, told: Date.now() };
    kept.card = newCard({
      download: () => attempt(mine, () => download(mine, kept)),
      again: () => again(kept),
      cancel: (event) => whileBusy(event.currentTarget, () => cancel(mine, kept)),
    });
    mine.jobs.set(job.export_job_id, kept);
    const older = [...list.children].find((card) => mine.jobs.get(card.dataset.job).job.created_time < job.created_time);
    list.insertBefore(kept.card, older ?? null);
  } else {
    tell(kept, job);
  }
  kept.job = job;
  showJob(kept.card, job);
  at("no-exports").hidden = true;
  return kept;
}

/** Tell who does not see it what has become of a job: changes of its state at once, progress now and then. */
function tell(kept, job) {
  const [before, [state, words]] = [stateOf(kept.job)[0], stateOf(job)];
  if (state !== before) announce(`${titleOf(job)}: ${words}. ${state === "failed" ? job.error_message : ""}`);
  else if (state !== "running" || Date.now() - kept.told < TELL * 1000) return;
  else announce(`${titleOf(job)}: ${countsOf(job)} so far.`);
  kept.told = Date.now();
}

/** Look at a job now, and again when it may have changed. */
async function look(mine, id) {
  const { document: job, retryAfter } = await mine.request("GET", `export-conversations/${id}/details`, trouble);
  const kept = keep(mine, job);
  watch(mine, kept, retryAfter);
  return kept;
}

/** Have a job looked at again: while it runs, and once its link dies. */
function watch(mine, kept, retryAfter = null) {
  clearTimeout(kept.timer);
  let seconds;
  if (isActive(kept.job)) seconds = retryAfter ?? POLL;
  else if (kept.job.archive) {
    seconds = (milliseconds(kept.job.archive.presigned_url_expires_at) - Date.now()) / 1000 + 1;
    seconds = Math.min(Math.max(seconds, LATER), LONGEST); // whatever this machine's clock says, and timers can take
  } else {
    return;
  }
  kept.timer = setTimeout(() => lookAgain(mine, kept), seconds * 1000);
}

async function lookAgain(mine, kept) {
  await attempt(
    mine,
    () => look(mine, kept.job.export_job_id),
    (words, refused) => {
      if (refused.status === 404) forget(mine, kept);
      else {
        trouble.onWait(words, LATER);
        kept.timer = setTimeout(() => lookAgain(mine, kept), LATER * 1000);
      }
    },
  );
}

/** A job that the service keeps no more. */
function forget(mine, kept) {
  mine.jobs.delete(kept.job.export_job_id);
  kept.card.remove();
}

/** Show a page of the list of exports: the newest, or those after a cursor. Returns its first job, if it has any. */
async function exportsFrom(mine, cursor) {
  const after = cursor === null ? "" : `&cursor=${encodeURIComponent(cursor)}`;
  const { document: page } = await mine.request("GET", `export-conversations?limit=${EXPORTS}${after}`, trouble);
  for (const job of page.export_jobs) watch(mine, keep(mine, job));
  if (cursor !== null || mine.cursor === null) {
    mine.cursor = page.next_cursor;
    at("more").hidden = page.next_cursor === null;
  }
  at("no-exports").hidden = mine.jobs.size > 0;
  return page.export_jobs[0];
}

function focusOn(kept) {
  kept.card.querySelector("h3").focus();
}

async function download(mine, kept) {
  // Links are made when they are asked for: what is shown may be older than they last.
  const { job } = await look(mine, kept.job.export_job_id);
  const link = job.archive?.presigned_url;
  if (!link) return focusOn(kept);
  if (!["http:", "https:"].includes(new URL(link).protocol)) throw new TypeError("a link that is none");
  const anchor = document.createElement("a");
  anchor.href = link;
  anchor.rel = "noreferrer";
  anchor.download = "";
  anchor.click();
  return announce(`Downloading ${job.archive.file_name}.`);
}

/** Fill in the form as it was for this export, and send it. */
function again({ job }) {
  chooseChannel(job.channel_id);
  fields.start_date.value = job.start_date;
  fields.end_date.value = job.end_date;
  showLimits();
  at("start-button").focus();
  at("export-form").requestSubmit();
}

async function cancel(mine, kept) {
  const id = kept.job.export_job_id;
  await attempt(mine, async () => {
    await mine.request("DELETE", `export-conversations/${id}`, trouble);
    focusOn(await look(mine, id));
  });
}

// What people do

at("sign-in-form").addEventListener("submit", (event) => {
  event.preventDefault();
  whileBusy(at("sign-in-button"), () => signIn(at("workspace").value.trim(), at("key").value.trim()));
});

at("sign-out").addEventListener("click", () => {
  draft = null;
  showSignIn();
});

at("export-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const body = values();
  if (!body.notification_email) delete body.notification_email;
  whileBusy(at("start-button"), () => start(body));
});

at("export-form").addEventListener("change", showLimits);
at("export-form").addEventListener("focusin", showLimits);

for (const button of document.querySelectorAll("[data-range]")) {
  button.addEventListener("click", () => setRange(button.dataset.range));
}

at("more").addEventListener("click", () => {
  const mine = session;
  whileBusy(at("more"), () =>
    attempt(mine, async () => {
      const first = await exportsFrom(mine, mine.cursor);
      if (first) focusOn(mine.jobs.get(first.export_job_id));
    }),
  );
});

// Who comes back to the page sees what has happened meanwhile, elsewhere too.
document.addEventListener("visibilitychange", () => {
  const mine = session;
  if (!document.hidden && mine && at("sign-in").hidden) attempt(mine, () => exportsFrom(mine, null));
});

// A link to another workspace, opened in this very tab: the page is not loaded again for it.
window.addEventListener("hashchange", () => {
  const named = namedWorkspace();
  if (!named || named.toLowerCase() === session?.workspace.toLowerCase()) return;
  at("workspace").value = named;
  showSignIn();
});

// How it begins

function namedWorkspace() {
  return new URLSearchParams(location.hash.slice(1)).get("workspace");
}

at("days-hint").textContent = `Both days are included. They begin and end in the time zone ${TIMEZONE}.`;
const named = namedWorkspace();
const [workspace, key] = [remembered("workspace"), remembered("key")];
at("workspace").value = named ?? workspace ?? "";
if (workspace && key && (named ?? workspace) === workspace) signIn(workspace, key);
else showSignIn();
