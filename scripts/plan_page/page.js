// What is chosen, what follows from it by the translated formulas, and how it is shown.

const PART_NAMES = { embeddings: "embeddings", attention: "attention", feed_forward: "feed-forward", norms: "norms", head: "head", other: "other" };
const control = (id) => document.getElementById(id);
const power = (id) => 2 ** Number(control(id).value);

// ---- figures: numbers alone, of a choice

function figures(choice) {
  const { preset, student, training, hardware } = choice;
  const [teacher, sizes] = [preset.teacher, student.sizes];
  const dtype = training_dtype(training, hardware);
  const flops = training_flops(teacher, sizes, training, choice.tokens, choice.method);
  const seconds = (share) => (share === null ? null : training_seconds(flops, hardware, dtype, share));
  const price = (time) => (time === null || hardware.price_per_hour === null ? null : dollars(time, hardware.price_per_hour));
  const assumed = choice.share === GPU_SHARE && has_known_share(sizes.parts.total);
  const times = [choice.share, assumed ? GPU_SHARE_HIGH : null, assumed ? GPU_SHARE_LOW : null].map(seconds);
  const memory = peak_memory(teacher, sizes, training, dtype, hardware.num_devices, false, choice.method);
  const reach = get(get(REACH, String(preset.fine_tuned)), choice.method);
  const cached = training.teacher_source === "cached" && preset.cache_bytes_per_token !== null;
  return {
    compression: student.compression,
    memory,
    besides: has(UNCOUNTED, choice.method) ? get(UNCOUNTED, choice.method) : null,
    dtype,
    flops,
    times,
    prices: times.map(price),
    checkpoints: checkpoint_bytes(sizes.parts.total),
    cache: cached ? teacher_cache_bytes(preset.cache_bytes_per_token, choice.tokens) : null,
    rule: rule_retention(student.compression, LAMBDA),
    fit: reach !== null && reach.holds(student.compression) ? fit_retention(student.compression, choice.method, FIT, preset.fine_tuned) : null,
    assistant: assistant(teacher.parts.total, sizes.parts.total),
    two_steps: two_steps(teacher.parts.total, sizes.parts.total),
    serving: [...TEACHER_DTYPES.map((dtype) => [teacher, dtype]), ...STUDENT_DTYPES.map((dtype) => [sizes, dtype])]
      .filter(([model, dtype]) => has(model.weight_bytes, dtype))
      .map(([model, dtype]) => served(model, dtype, choice)),
  };
}
function served(model, dtype, choice) {
  const found = speeds(model, dtype, choice.load, choice.requests, choice.hardware);
  const priced = found.throughput !== null && choice.hardware.price_per_hour !== null;
  return { model, dtype, found, cost: priced ? dollars_per_million(choice.hardware.price_per_hour, found.throughput) : null };
}

// ---- the choice

function chosen() {
  const preset = PRESETS[control("preset").selectedIndex];
  const student = preset.stops[Number(control("stop").value)][control("student").selectedIndex];
  const device = DEVICES[control("device").selectedIndex];
  const price = Number(control("price").value);
  const training = new TrainingPlan(
    null, power("batch"), power("length"), null, control("checkpointing").checked, control("chunked").checked, control("source").value);
  return {
    preset, student, training,
    method: control("method").value,
    tokens: control("rule").checked ? rule_tokens(student.compression) : 10 ** Number(control("tokens").value),
    hardware: new Hardware(device.name, power("count"), device.memory_bytes, device.flops, device.bandwidth, price > 0 ? price : null, device.source,
      device.flops_float32, device.has_bfloat16),
    share: Number(control("share").value),
    load: new ServingLoad(power("input"), power("output")),
    requests: power("requests"),
  };
}
function say(id, text) {
  control(`${id}-shown`).textContent = text;
  control(id).setAttribute("aria-valuetext", text);
}
function begin() {
  const preset = PRESETS[control("preset").selectedIndex];
  control("stop").max = preset.stops.length - 1;
  control("stop").value = preset.first;
  control("device").selectedIndex = DEVICES.findIndex((one) => one.name === preset.hardware);
  control("count").value = Math.log2(preset.num_devices);
  control("length").max = Math.floor(Math.log2(preset.teacher.max_length ?? 32768));
  control("input").max = control("length").max;
  control("length").value = Math.log2(preset.max_length);
  control("source").disabled = preset.cache_bytes_per_token === null;
  control("source").value = "bf16";
  architectures();
}
function architectures() {
  const preset = PRESETS[control("preset").selectedIndex];
  const stop = preset.stops[Number(control("stop").value)];
  put("student", ...stop.map((one) => element("option", {}, `${one.sizes.name} (${counted(one.sizes.parts.total)})`)));
  control("student").selectedIndex = 0;
}

// ---- what is shown

function show() {
  const choice = chosen();
  if (control("rule").checked) control("tokens").value = Math.log10(choice.tokens);
  const found = figures(choice);
  say("stop", `${digits(found.compression)}x: ${counted(choice.student.sizes.parts.total)} of ${counted(choice.preset.teacher.parts.total)}`);
  say("tokens", counted(choice.tokens));
  say("length", `${choice.training.max_length} tokens`);
  say("batch", String(choice.training.batch_size));
  say("count", String(choice.hardware.num_devices));
  say("share", choice.share === GPU_SHARE ? `${digits(choice.share)} (assumed)` : digits(choice.share));
  say("price", choice.hardware.price_per_hour === null ? "none given" : dollar(choice.hardware.price_per_hour));
  say("input", `${choice.load.input_len} tokens`);
  say("output", `${choice.load.output_len} tokens`);
  say("requests", String(choice.requests));
  showSummary(choice, found);
  showSizes(choice);
  showKept(choice, found);
  showMemory(choice, found);
  showCost(choice, found);
  showServing(choice, found);
}
function tile(name, value, more, high = false) {
  return element("div", { class: high ? "tile high" : "tile" }, element("span", {}, name), element("strong", {}, value), element("span", {}, more));
}
function showSummary({ student, hardware, tokens }, found) {
  const share = found.memory.peak === null ? null : found.memory.peak / hardware.memory_bytes;
  const fit = found.fit;
  put("summary",
    tile("Smaller", `${digits(found.compression)}x`, `${counted(student.sizes.parts.total)} parameters, exact`),
    fit === null
      ? tile("May keep", percent(found.rule), "by a rule of thumb; no published student is like it", true)
      : tile("May keep", percent(fit[0]), `${percent(fit[1])} to ${percent(fit[2])}, as published ones; rule: ${percent(found.rule)}`),
    share === null
      ? tile("Memory", "not known", "of this architecture's activations")
      : tile("Memory", `${found.besides === null ? "" : "at least "}${sized(found.memory.peak)}`, `${percent(share)} of a device, estimate`, share > 1),
    tile("Tokens", counted(tokens), control("rule").checked ? "by a rule of thumb" : "as chosen"),
    tile("Time", timed(found.times[0]), "estimate, without validations"),
    tile("Price", dollar(found.prices[0]), found.prices[0] === null ? "no price per hour is given" : "estimate"));
}
function showSizes({ preset, student, hardware, load }) {
  const models = [preset.teacher, student.sizes];
  const tokens = load.input_len + load.output_len;
  const parts = Object.keys(PART_NAMES).filter((one) => models.some((model) => model.parts[one] > 0));
  const fits = (model, dtype) => max_requests(model, dtype, tokens, served_memory(hardware));
  const whole = (value) => (value === null ? "-" : value.toLocaleString("en-US"));
  const row = (name, cell) => [name, ...models.map(cell)];
  const heading = ["", "teacher", "student"];
  put("sizes",
    element("p", {}, `${preset.teacher.name}, and ${student.sizes.name}. ${student.why}`),
    element("div", { class: "beside" },
      table("Parameters, exact", heading, [
        row("all", (model) => whole(model.parts.total)),
        ...parts.map((one) => row(PART_NAMES[one], (model) => whole(model.parts[one])))]),
      table("Bytes, exact", heading, [
        ...["fp32", "bf16", "int8", "int4"].map((dtype) => row(dtype, (model) => sized(get(model.weight_bytes, dtype)))),
        row(`KV cache of ${tokens} tokens`, (model) => (model.kv_cache === null ? "-" : sized(model.kv_cache.num_bytes(tokens)))),
        row("requests that fit, bf16", (model) => whole(fits(model, "bf16"))),
        row("requests that fit, int4", (model) => whole(fits(model, "int4")))])),
    element("p", { class: "label" }, "What to type next"), element("pre", {}, student.prepare));
}
function showKept({ preset, method, student }, found) {
  const fit = found.fit === null
    ? `no value, for published students are not like it: ${whyNoFit({ preset, method, student })}.`
    : `${percent(found.fit[0])}, and ${percent(found.fit[1])} to ${percent(found.fit[2])} for one more published student (${100 * LEVEL} % interval). `
      + `Left out one at a time, ${get(UNSEEN, String(preset.fine_tuned))}.`;
  const width = Math.max(280, Math.min(720, control("kept").clientWidth));
  put("kept",
    element("p", {}, element("strong", {}, "By the fit: "), fit),
    element("p", {}, element("strong", {}, "By the rule of thumb: "), `${percent(found.rule)}, with no data behind it (`, ...links(RULE_SOURCE), ")."),
    element("figure", {}, keptChart(found, preset, method, width), element("figcaption", {},
      "Dots: published students, filled where the fit of this kind uses them. Line with band: the fit and its interval, no longer than the points of the method. "
      + "Dashed: the rule. Dotted line: this student's size; large dot with bar: what it keeps by the fit, where that has a value.")),
    element("p", {}, `${method} needs ${get(METHODS, method)}.`),
    element("p", {}, `By way of an assistant of ${counted(found.assistant)} parameters the training takes ${digits(found.two_steps)} times the compute.`));
}
function showAnchors() {
  const rows = ANCHORS.map((one) => [
    `${one.teacher} to ${one.student}`, digits(one.compression), one.method, one.benchmark, percent(one.retention),
    element("span", {}, ...links(one.source)), one.left_out ?? "yes"]);
  put("anchors",
    element("summary", {}, `All ${ANCHORS.length} published results, and the fit`),
    element("p", {}, FIT_TEXT),
    table("Published results", ["teacher and student", "times smaller", "method", "benchmark", "kept", "source", "in the fit"], rows));
}
function showMemory({ student, hardware, training }, found) {
  const names = { weights: "weights", gradients: "gradients", optimizer: "optimizer", activations: "activations", logits: "loss", teacher: "teacher" };
  const rows = Object.entries(names).map(([one, name]) => [name, found.memory[one], sized(found.memory[one])]);
  const most = Math.max(hardware.memory_bytes, found.memory.peak ?? 0, ...rows.map(([, value]) => value ?? 0));
  const peak = found.memory.peak === null ? "not known" : sized(found.memory.peak);
  put("memory",
    element("p", {}, `Of each device, at ${training.batch_size} x ${training.max_length} tokens. The peak is not the sum: activations and loss are gone when all gradients are there.`),
    bars(rows, most),
    bars([["peak", found.memory.peak, peak], ["device", hardware.memory_bytes, sized(hardware.memory_bytes)]], most, true),
    ...(found.besides === null ? [] : [element("p", { class: "quiet" }, `Not counted are ${found.besides}.`)]),
    ...(found.memory.peak === null ? [element("p", { class: "quiet" }, `What autograd saves of a ${student.sizes.architecture} is not known; known: ${Object.keys(KEPT).join(", ")}.`)] : []));
}
function showCost({ training, hardware, share, tokens }, found) {
  put("cost",
    table("The training", ["", "estimate"], [
      ["tokens", counted(tokens)],
      ["FLOPs", found.flops.toExponential(2)],
      ["time", ranged(...found.times, timed)],
      ["price", found.prices[0] === null ? "-" : ranged(...found.prices, dollar)],
      ["checkpoints on disk", sized(found.checkpoints)],
      ...(found.cache === null ? [] : [["teacher's answers on disk, at most", sized(found.cache)]])]),
    element("p", { class: "quiet" }, `${hardware.num_devices} x ${hardware.name}, ${digits(hardware.peak_flops(found.dtype) / 1e12)} TFLOP/s each in ${found.dtype} (`, ...links(hardware.source), `), at a utilisation of ${digits(share)}`,
      ...(share === GPU_SHARE ? [": ", ...links(GPU_SHARE_SOURCE)] : [""]), "."),
    ...(training.gradient_checkpointing ? [element("p", { class: "quiet" }, "Checkpointing computes the layers once more.")] : []));
}
function showServing({ preset, load, requests }, found) {
  const asked = preset.fine_tuned
    ? `${load.input_len} tokens to read, and a classifier writes none.`
    : `${load.input_len} tokens of prompt and ${load.output_len} of answer, ${requests} at once.`;
  const cell = (value, show) => (value === null ? "-" : show(value));
  const rows = found.serving.map(({ model, dtype, found: at, cost }, place) => [
    `${place === 0 ? "teacher" : "student"}, ${dtype}`,
    at.fits ? cell(at.ttft, timed) : "does not fit", cell(at.tpot, timed), cell(at.throughput, digits),
    at.fits && model.kv_cache !== null ? `${at.at_once} of ${requests}` : "-", dollar(cost)]);
  put("serving",
    element("p", {}, `${asked} A roofline: a bound that no system reaches.`),
    table("Serving", ["", "first token", "each further token", "tokens per second", "served at once", "per million tokens"], rows));
}

// ---- temperature

const SOFT = [
  { title: "Three answers, T = 2", names: "a, b, c", teacher: "5.0, 1.0, 0.5", student: "3.0, 1.5, 0.5", temperature: 2 },
  { title: "Three answers, T = 1", names: "a, b, c", teacher: "5.0, 1.0, 0.5", student: "3.0, 1.5, 0.5", temperature: 1 },
  { title: "An e-mail (made up), T = 4", names: "spam, promotion, personal, work", teacher: "8.0, 5.0, 1.0, 0.0", student: "6.0, 5.0, 2.0, 1.0", temperature: 4 },
  { title: "An e-mail (made up), T = 1", names: "spam, promotion, personal, work", teacher: "8.0, 5.0, 1.0, 0.0", student: "6.0, 5.0, 2.0, 1.0", temperature: 1 },
];
function logits(id) {
  const shown = control(id).value.replace(/[[\]]/g, "").split(/[\s,;]+/).filter(Boolean);
  const wrong = shown.find((one) => !Number.isFinite(Number(one)) || Math.abs(Number(one)) > 1000);
  if (wrong !== undefined) fail(`"${wrong}" is no logit: type numbers from -1000 to 1000, e.g. 5.0, 1.0, 0.5`);
  return shown.length < 2 ? fail("Type two logits or more, e.g. 5.0, 1.0, 0.5") : shown.map(Number);
}
function softFigures(teacher, student, temperature) {
  const of = (logits, at) => {
    const probabilities = softened(logits, at);
    return { probabilities, entropy: entropy(probabilities), dark: dark_share(probabilities) };
  };
  return {
    hard: of(teacher, 1), teacher: of(teacher, temperature), student: of(student, temperature),
    divergence: divergence(teacher, student, temperature), loss: soft_loss(teacher, student, temperature),
  };
}
function showSoft() {
  const temperature = Number(control("temperature").value);
  say("temperature", temperature.toFixed(1));
  let teacher, student;
  try {
    [teacher, student] = [logits("teacher-logits"), logits("student-logits")];
    if (teacher.length !== student.length) fail(`The teacher has ${teacher.length} logits and the student ${student.length}: type as many of both`);
  } catch (error) {
    put("soft-wrong", error.message);
    put("softened");
    return;
  }
  put("soft-wrong");
  const names = control("names").value.split(",").map((one) => one.trim());
  const found = softFigures(teacher, student, temperature);
  const view = (title, one, second) => element("div", {}, element("h3", {}, title),
    bars(one.probabilities.map((value, place) => [names[place] || `answer ${place + 1}`, value, value.toFixed(4)]), 1, second));
  const row = (name, show) => [name, show(found.hard), show(found.teacher), show(found.student)];
  const at = `T = ${temperature.toFixed(1)}`;
  put("softened",
    element("div", { class: "beside" }, view("Teacher, T = 1", found.hard, false), view(`Teacher, ${at}`, found.teacher, false), view(`Student, ${at}`, found.student, true)),
    table("Of these distributions", ["", "teacher, T = 1", `teacher, ${at}`, `student, ${at}`], [
      row("entropy, nats", (one) => one.entropy.toFixed(4)),
      row("\"dark knowledge\": share of all but the first", (one) => percent(one.dark))]),
    element("p", {}, `KL(teacher || student) at ${at}: ${found.divergence.toFixed(5)} nats; times T squared, as in the loss: `, element("strong", {}, found.loss.toFixed(5)), "."));
}
function beginSoft() {
  const one = SOFT[control("example").selectedIndex];
  control("names").value = one.names;
  control("teacher-logits").value = one.teacher;
  control("student-logits").value = one.student;
  control("temperature").value = one.temperature;
  showSoft();
}

// ---- events

put("preset", ...PRESETS.map((one) => element("option", {}, one.title)));
put("method", ...Object.keys(METHODS).map((one) => element("option", {}, one)));
put("device", ...DEVICES.map((one) => element("option", {}, one.name)));
put("example", ...SOFT.map((one) => element("option", {}, one.title)));
control("share").value = GPU_SHARE;
control("preset").addEventListener("input", begin);
control("stop").addEventListener("input", architectures);
control("tokens").addEventListener("input", () => { control("rule").checked = false; });
control("controls").addEventListener("input", show);
control("example").addEventListener("input", beginSoft);
control("soft").addEventListener("input", (event) => { if (event.target.id !== "example") showSoft(); });
for (const id of ["controls", "soft"]) control(id).addEventListener("submit", (event) => event.preventDefault());
let shownWidth = window.innerWidth;
window.addEventListener("resize", () => {
  if (window.innerWidth !== shownWidth) show();
  shownWidth = window.innerWidth;
});
begin();
show();
showAnchors();
beginSoft();
