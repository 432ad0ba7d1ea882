// Retention against compression: the anchors, the rule, the fit with its interval, and the student where it has one.

const SVG = "http://www.w3.org/2000/svg";
const FARTHEST = 20;

function drawn(name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}
function titled(mark, text) {
  mark.append(drawn("title", {}, text));
  return mark;
}
function keptChart(found, preset, method, width) {
  const height = Math.max(260, Math.min(420, width * 0.6));
  const [left, right, top, bottom] = [44, 12, 10, 40];
  const shown = ANCHORS.filter((one) => one.compression <= FARTHEST);
  const lowest = Math.floor(10 * Math.min(...shown.map((one) => one.retention), found.rule)) / 10;
  const highest = Math.max(1.02, ...shown.map((one) => one.retention + 0.02));
  const x = (ratio) => left + (Math.log2(ratio) / Math.log2(FARTHEST)) * (width - left - right);
  const y = (kept) => top + ((highest - Math.max(kept, lowest)) / (highest - lowest)) * (height - top - bottom);
  const label = `Retention against compression: ${shown.length} published students, the rule, ${found.fit === null ? "and the size of yours, for which the fit has no value" : "the fit, and yours"}`;
  const chart = drawn("svg", { class: "kept", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label });
  for (const ratio of [1, 2, 4, 8, 16]) {
    chart.append(drawn("line", { class: "axis", x1: x(ratio), x2: x(ratio), y1: top, y2: height - bottom }));
    chart.append(drawn("text", { x: x(ratio), y: height - bottom + 16, "text-anchor": "middle" }, `${ratio}x`));
  }
  for (let tenth = Math.round(10 * lowest); tenth <= 10; tenth += 1) {
    chart.append(drawn("line", { class: "axis", x1: left, x2: width - right, y1: y(tenth / 10), y2: y(tenth / 10) }));
    chart.append(drawn("text", { x: left - 6, y: y(tenth / 10) + 4, "text-anchor": "end" }, `${10 * tenth} %`));
  }
  chart.append(drawn("text", { x: width - right, y: height - 6, "text-anchor": "end" }, "times smaller than the teacher"));
  const line = (from, to, kept) => Array.from({ length: 61 }, (_, place) => {
    const ratio = from * (to / from) ** (place / 60);
    return `${x(ratio).toFixed(1)},${y(kept(ratio)).toFixed(1)}`;
  });
  chart.append(drawn("polyline", { class: "rule", points: line(1, FARTHEST, (ratio) => rule_retention(ratio, LAMBDA)).join(" ") }));
  const reach = get(get(REACH, String(preset.fine_tuned)), method);
  if (reach !== null && reach.speaks) {
    const part = (place) => line(reach.least, reach.most, (ratio) => fit_retention(ratio, method, FIT, preset.fine_tuned)[place]);
    chart.append(drawn("polygon", { class: "band", points: [...part(1), ...part(2).reverse()].join(" ") }));
    chart.append(drawn("polyline", { class: "fit", points: part(0).join(" ") }));
  }
  for (const one of shown) {
    const used = one.fine_tuned === preset.fine_tuned && one.left_out === null;
    const text = `${one.teacher} to ${one.student}, ${one.benchmark}: ${percent(one.retention)} at ${digits(one.compression)}x, ${one.method}`;
    const place = { cx: x(one.compression).toFixed(1), cy: y(one.retention).toFixed(1), r: used ? 3.5 : 2.5 };
    chart.append(titled(drawn("circle", { class: used ? "anchor" : "anchor other", ...place }), text));
  }
  const at = x(Math.min(found.compression, FARTHEST));
  chart.append(titled(drawn("line", { class: "size", x1: at, x2: at, y1: top, y2: height - bottom }), `This student's size: ${digits(found.compression)}x`));
  if (found.fit !== null) {
    chart.append(drawn("line", { class: "yours", x1: at, x2: at, y1: y(found.fit[1]), y2: y(found.fit[2]) }));
    chart.append(titled(drawn("circle", { class: "yours point", cx: at, cy: y(found.fit[0]), r: 6 }), `This student by the fit: ${percent(found.fit[0])}`));
  }
  return chart;
}
function whyNoFit({ preset, method, student }) {
  const reaches = get(REACH, String(preset.fine_tuned));
  const mine = get(reaches, method);
  const whose = preset.fine_tuned ? "encoders that are fine-tuned on their task" : "language models that are prompted";
  const times = (reach) => (reach.num_points === 1 ? `at ${digits(reach.least, 4)}` : `from ${digits(reach.least, 4)} to ${digits(reach.most, 4)}`);
  const few = mine === null || mine.speaks ? "" : `, and the fit needs ${FEWEST}`;
  const those = mine === null ? "none that the fit may use" : `${mine.num_points}, ${times(mine)} times smaller${few}`;
  const others = Object.entries(reaches).filter(([, reach]) => reach.holds(student.compression));
  const elsewhere = others.map(([name, reach]) => `${name} (${reach.num_points}, ${times(reach)} times)`).join(" or ");
  return `of ${whose} by ${method} there are ${those}; at ${digits(student.compression, 4)} times `
    + (others.length === 0 ? "not enough by any other method either" : `there are enough by ${elsewhere}`);
}
