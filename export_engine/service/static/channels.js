// The list of channels to choose from. Names are what anybody wrote: they are only ever text.

import { count, typeName } from "./format.js";

/** From how many channels on there is a field to find one. */
const MANY = 10;

/** What is written from right to left, or says that it is. */
const TURNING = /[\p{Bidi_Control}\p{Script=Hebrew}\p{Script=Arabic}\p{Script=Syriac}\p{Script=Thaana}\p{Script=Nko}]/u;

const select = document.getElementById("channel");
const filter = document.getElementById("filter");
const filterField = document.getElementById("filter-field");
const hint = document.getElementById("filter-hint");
const collator = new Intl.Collator(undefined, { numeric: true });

let channels = [];
let complete = false;

/** Forget all channels. */
export function clearChannels() {
  channels = [];
  complete = false;
  filter.value = "";
  select.replaceChildren();
  filterField.hidden = true;
}

/** Add channels as the API lists them; `last` says that there are no more. */
export function addChannels(added, last) {
  complete = last;
  channels = [...channels, ...added.map(entry)].sort((one, other) => collator.compare(one.label, other.label));
  filterField.hidden = channels.length < MANY;
  show();
}

/** Choose a channel, whatever is being looked for; none if there is no such channel. */
export function chooseChannel(id) {
  filter.value = "";
  show();
  select.value = id;
}

function entry({ channel_id: id, channel_type: type, name, phone_number: phone }) {
  // An isolate keeps a name that is written from right to left from turning what follows. Only there: typing the
  // beginning of a name chooses it.
  const title = name && TURNING.test(name) ? `\u2068${name}\u2069` : name;
  const label = [title, phone, title || phone ? null : id, typeName(type)].filter(Boolean).join(" · ");
  return { id, label, words: folded([name, phone, phone?.replace(/\D/g, ""), type, typeName(type), id].join(" ")) };
}

/** Text as it is compared: without case and accents. */
function folded(text) {
  return text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
}

function show() {
  const wanted = folded(filter.value).split(/\s+/).filter(Boolean);
  const found = channels.filter((channel) => wanted.every((word) => channel.words.includes(word)));
  const chosen = select.value;
  const first = found.length ? "Choose a channel" : channels.length ? "No channel matches" : "No channels";
  select.replaceChildren(
    new Option(complete || channels.length ? first : "Loading…", ""),
    ...found.map((channel) => new Option(channel.label, channel.id)),
  );
  if (found.some((channel) => channel.id === chosen)) select.value = chosen;
  else if (found.length === 1 && (complete || wanted.length)) select.value = found[0].id;
  const all = `${count(channels.length, ["channel", "channels"])}${complete ? "" : " so far"}`;
  hint.textContent = wanted.length ? `${count(found.length, ["match", "matches"])} in ${all}` : all;
}

filter.addEventListener("input", show);
// Enter here would send the form before a channel is chosen.
filter.addEventListener("keydown", (event) => {
  if (event.key === "Enter") {
    event.preventDefault();
    select.focus();
  }
});
