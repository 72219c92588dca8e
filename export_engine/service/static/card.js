// One export in the list: what is shown of a job, and in which words.

import { bytes, count, moment, range, typeName } from "./format.js";

/** The `error_message` of a job that somebody cancelled: nothing went wrong. */
const CANCELLED = "The export was cancelled.";

const template = document.getElementById("export-template");

/** Whether a job has not ended. */
export function isActive(job) {
  return job.status === "queued" || job.status === "started";
}

/** Where a job is, in one word for what is shown, with the words that are shown. */
export function stateOf(job) {
  if (job.status === "queued") return ["waiting", job.attempts ? "Waiting to try again" : "Waiting"];
  if (job.status === "started") return ["running", "Exporting"];
  if (job.status === "failed") return job.error_message === CANCELLED ? ["cancelled", "Cancelled"] : ["failed", "Failed"];
  return job.archive ? ["ready", "Ready"] : ["expired", "Expired"];
}

/** What an export is called in a sentence. */
export function titleOf(job) {
  return `${job.channel_name || job.channel_id}, ${range(job.start_date, job.end_date)}`;
}

/** How far a job is, or what its archive holds: "1,234 messages · 56 conversations · 1.2 MB". Empty if nothing is known. */
export function countsOf(job) {
  const { rows, conversations, bytes: size } = job.archive ?? job.progress;
  return [
    rows === null ? null : count(rows, ["message", "messages"]),
    conversations === null ? null : count(conversations, ["conversation", "conversations"]),
    size === null ? null : bytes(size),
  ]
    .filter(Boolean)
    .join(" · ");
}

/** A card of the list; `on` has what is done by its buttons: `download`, `again` and `cancel`. */
export function newCard(on) {
  const card = template.content.firstElementChild.cloneNode(true);
  for (const [name, act] of Object.entries(on)) part(card, name).addEventListener("click", act);
  return card;
}

/** Show a job in its card. What stays as it was is left alone, and so is the focus. */
export function showJob(card, job) {
  const [state, words] = stateOf(job);
  card.dataset.state = state;
  card.dataset.job = job.export_job_id;
  text(part(card, "channel"), job.channel_name || job.channel_id);
  text(part(card, "state"), words);
  const kind = job.channel_type ? ` · ${typeName(job.channel_type)}` : "";
  text(part(card, "days"), `${range(job.start_date, job.end_date)}${kind}`);
  for (const of of card.querySelectorAll('[data-is="of"]')) text(of, ` ${titleOf(job)}`);

  const counts = countsOf(job);
  line(part(card, "counts"), state === "running" ? counts && `${counts} so far` : state === "ready" ? counts : "");
  line(part(card, "message"), messageOf(job, state));
  part(card, "bar").hidden = state !== "running";
  part(card, "download").hidden = state !== "ready";
  part(card, "cancel").hidden = !isActive(job);
  part(card, "again").hidden = !["failed", "cancelled", "expired"].includes(state);
  showFacts(part(card, "facts"), job);
}

function messageOf(job, state) {
  if (state === "ready") return `The link expires ${moment(job.archive.presigned_url_expires_at)}.`;
  if (state === "expired") return "The download has expired or was deleted. Export again to get a new one.";
  if (state === "failed") return job.error_message ?? "The service does not say why.";
  return "";
}

function showFacts(list, job) {
  const facts = [
    ["Asked for", moment(job.created_time)],
    ["Ended", job.finished_time && moment(job.finished_time)],
    ["File", job.archive?.file_name],
    ["SHA-256", job.archive?.sha256],
    ["Export ID", job.export_job_id],
  ].filter(([, value]) => value);
  // Rebuilt only if it changes: somebody may be selecting text in it.
  const written = JSON.stringify(facts);
  if (list.dataset.written === written) return;
  list.dataset.written = written;
  list.replaceChildren(
    ...facts.flatMap(([name, value]) => {
      const [term, description] = [document.createElement("dt"), document.createElement("dd")];
      term.textContent = name;
      description.textContent = value;
      return [term, description];
    }),
  );
}

function part(card, name) {
  return card.querySelector(`[data-is="${name}"]`);
}

function text(element, value) {
  if (element.textContent !== value) element.textContent = value;
}

function line(element, value) {
  text(element, value);
  element.hidden = !value;
}
