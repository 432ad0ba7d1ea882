// What Python's operators and builtins mean where JavaScript's mean something else.

function fail(what) { throw new Error(what); }
function truth(value) { return Array.isArray(value) ? value.length > 0 : Boolean(value); }
function both(left, right) { return truth(left) ? right() : left; }
function either(left, right) { return truth(left) ? left : right(); }
function has(holder, value) { return Array.isArray(holder) ? holder.includes(value) : Object.hasOwn(holder, value); }
function get(holder, key, fallback = null) { return Object.hasOwn(holder, key) ? holder[key] : fallback; }
function item(holder, key) {
  const index = typeof key === "boolean" ? Number(key) : key;
  const place = Array.isArray(holder) && index < 0 ? holder.length + index : index;
  return Object.hasOwn(holder, place) ? holder[place] : fail(`nothing at ${key}`);
}
function divided(left, right) { return Number(right) === 0 ? fail("division by zero") : left / right; }
function floor_divided(left, right) { return Math.floor(divided(left, right)); }
function modulo(left, right) { return left - right * floor_divided(left, right); }
function abs(value) { return Math.abs(value); }
function float(value) { return Number(value); }
function int(value) { return Math.trunc(value); }
function len(items) { return items.length; }
function sum(items) { return items.reduce((total, one) => total + one, 0); }
function extreme(given, isBefore) {
  const items = given.length === 1 ? given[0] : given;
  if (items.length === 0) fail("the extreme of nothing");
  return items.reduce((found, one) => (isBefore(one, found) ? one : found));
}
function max(...given) { return extreme(given, (one, other) => one > other); }
function min(...given) { return extreme(given, (one, other) => one < other); }
function range(...given) {
  const [first, end, step] = given.length === 1 ? [0, given[0], 1] : [given[0], given[1], given[2] ?? 1];
  return Array.from({ length: Math.max(0, Math.ceil((end - first) / step)) }, (_, place) => first + place * step);
}
function enumerate(items) { return items.map((one, place) => [place, one]); }
function zip(...rows) {
  if (rows.some((row) => row.length !== rows[0].length)) fail("rows of different lengths");
  return rows[0].map((_, place) => rows.map((row) => row[place]));
}
function positive(value) { return value > 0 ? value : fail("the logarithm of nothing"); }
function finite(value) { return Number.isFinite(value) ? value : fail("too large a number"); }
const math = {
  ceil: Math.ceil,
  floor: Math.floor,
  exp: (value) => finite(Math.exp(value)),
  log: (value) => Math.log(positive(value)),
  log2: (value) => Math.log2(positive(value)),
  log10: (value) => Math.log10(positive(value)),
  sqrt: (value) => (value < 0 ? fail("the root of less than nothing") : Math.sqrt(value)),
};
