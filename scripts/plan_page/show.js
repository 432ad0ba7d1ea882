// Numbers as text, and elements.

function digits(value, count = 3) {
  return Number(value.toPrecision(count)).toLocaleString("en-US", { maximumSignificantDigits: count });
}
function scaled(value, units, base = 1000) {
  let place = 0;
  while (Math.abs(value) >= base && place < units.length - 1) { value /= base; place += 1; }
  return `${digits(value)}${units[place]}`;
}
function counted(value) { return scaled(value, ["", "K", "M", "B", "T"]); }
function sized(value) { return value === null ? "-" : scaled(value, [" B", " kB", " MB", " GB", " TB", " PB"]); }
function percent(value) { return `${(100 * value).toFixed(1)} %`; }
function dollar(value) {
  if (value === null) return "-";
  return `$${value >= 100 ? Math.round(value).toLocaleString("en-US") : digits(value)}`;
}
function timed(seconds) {
  if (seconds < 1e-3) return `${digits(seconds * 1e6)} us`;
  if (seconds < 1) return `${digits(seconds * 1e3)} ms`;
  if (seconds < 120) return `${digits(seconds)} s`;
  if (seconds < 7200) return `${digits(seconds / 60)} min`;
  return seconds < 172800 ? `${digits(seconds / 3600)} h` : `${digits(seconds / 86400)} days`;
}
function ranged(middle, low, high, show) { return low === null ? show(middle) : `${show(middle)} (${show(low)} to ${show(high)})`; }

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}
function table(caption, heading, rows) {
  const cell = (name, value, place) => element(name, place ? { class: "number" } : {}, value);
  const head = element("tr", {}, ...heading.map((one, place) => {
    const made = cell("th", one, place);
    made.scope = "col";
    return made;
  }));
  const body = rows.map(([first, ...rest]) =>
    element("tr", {}, element("th", { scope: "row" }, first), ...rest.map((one) => cell("td", one, 1))));
  const made = element("table", {}, element("caption", {}, caption), element("thead", {}, head), element("tbody", {}, ...body));
  return element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption }, made);
}
function bars(rows, most, second = false) {
  const made = element("div", { class: "bars" });
  for (const [name, value, shown] of rows) {
    const fill = element("div", { class: second ? "fill second" : "fill" });
    fill.style.width = `${most > 0 && value !== null ? (100 * value) / most : 0}%`;
    made.append(element("div", {}, name), element("div", { class: "track", "aria-hidden": "true" }, fill), element("div", { class: "amount" }, shown));
  }
  return made;
}
function links(text) {
  return text.split(/(https:\/\/[^\s;,)]+|arXiv \d{4}\.\d{5})/).map((part, place) => {
    if (place % 2 === 0) return part;
    const address = part.startsWith("arXiv") ? `https://arxiv.org/abs/${part.slice(6)}` : part;
    return element("a", { href: address }, part.startsWith("arXiv") ? part : new URL(part).hostname);
  });
}
function put(id, ...children) { document.getElementById(id).replaceChildren(...children); }
