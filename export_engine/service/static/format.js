// Days, moments, numbers and names as their reader writes them.

/** The time zone that the service counts days in; UTC where the browser does not know it. */
export const TIMEZONE = document.documentElement.dataset.timezone;

/** Types that people know by another name, or write otherwise. */
const KINDS = { LOCAL: "SMS", SMS: "SMS", LINE: "LINE", WHATSAPP: "WhatsApp", WHATSAPP_BUSINESS_PLATFORM: "WhatsApp" };

const numbers = new Intl.NumberFormat();
const moments = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
// Days have no time zone: they are taken as UTC's, and shown so.
const days = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeZone: "UTC" });

const UNITS = ["byte", "kilobyte", "megabyte", "gigabyte", "terabyte"];

/** What stays in one line: a number and its unit. */
function together(text) {
  return text.replaceAll(" ", "\u00a0");
}

/** A number with a word, as "1,234 messages"; `words` are the one for 1 and the one for all others. */
export function count(number, [one, many]) {
  return together(`${numbers.format(number)} ${number === 1 ? one : many}`);
}

/** A size, as "1.2 MB". */
export function bytes(size) {
  const step = size < 1000 ? 0 : Math.min(Math.floor(Math.log10(size) / 3), UNITS.length - 1);
  const options = { style: "unit", unit: UNITS[step], unitDisplay: step ? "short" : "long", maximumFractionDigits: 1 };
  return together(new Intl.NumberFormat(undefined, options).format(size / 1000 ** step));
}

/** A moment of the API, which is UTC without an offset, in the reader's own time. */
export function moment(text) {
  return moments.format(new Date(milliseconds(text)));
}

/** A moment of the API as milliseconds since 1970. */
export function milliseconds(text) {
  return Date.parse(`${text.slice(0, 23)}Z`);
}

/** The days of a range, as "1 – 30 Jun 2026". */
export function range(start, end) {
  return days.formatRange(new Date(`${start}T00:00Z`), new Date(`${end}T00:00Z`));
}

/** Today where the service is, as YYYY-MM-DD, or "" if the browser does not know that time zone. */
export function today() {
  try {
    const format = new Intl.DateTimeFormat("en", { timeZone: TIMEZONE, year: "numeric", month: "2-digit", day: "2-digit" });
    const parts = Object.fromEntries(format.formatToParts().map((part) => [part.type, part.value]));
    return `${parts.year}-${parts.month}-${parts.day}`;
  } catch {
    return "";
  }
}

/** Ranges that are often asked for, by their names, counted from a day of the form YYYY-MM-DD. */
export function usualRange(name, day) {
  const [year, month, date] = day.split("-").map(Number);
  const text = (...parts) => new Date(Date.UTC(...parts)).toISOString().slice(0, 10);
  if (name === "last-month") return [text(year, month - 2, 1), text(year, month - 1, 0)];
  if (name === "this-month") return [text(year, month - 1, 1), day];
  return [text(year, month - 1, date - 6), day];
}

/** A detailed channel type in words: `TOLL_FREE` is "Toll free". */
export function typeName(type) {
  const words = type.replaceAll("_", " ").toLowerCase();
  return KINDS[type] ?? words.charAt(0).toUpperCase() + words.slice(1);
}
