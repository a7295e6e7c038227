// The probability of opening a call at each token, as a line over a logarithmic axis.

const NAMESPACE = "http://www.w3.org/2000/svg";
const HEIGHT = 150;
const MARGIN = { left: 54, right: 4, top: 16, bottom: 22 };
// Smaller probabilities stand at the lower edge.
const LEAST = 1e-5;
const DECADES = [1, 0.1, 0.01, 1e-3, 1e-4, LEAST];

function svg(name, attributes, text) {
  const made = document.createElementNS(NAMESPACE, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

const written = (text, x, y) => svg("text", { x, y, "text-anchor": "end" }, text);
const short = (probability) => String(Number(probability.toPrecision(2)));

// Draws into an element and returns the same in words. `tokens` and `calls` are those of the
// answer; inside calls tokens have no probability.
export function drawChart(place, { tokens, calls }, model) {
  // The smallest of the tools': what a call has to reach at least.
  const own = Object.values(model.min_call_probability_by_tool);
  const least = (all, name) => Math.min(all, ...own.map((values) => values[name]));
  const threshold = least(model.min_call_probability, "in_text");
  const first = least(model.min_call_probability_behind_prompt, "behind_prompt");
  const points = tokens.filter((token) => token.call_probability !== null);
  const width = Math.max(place.clientWidth, 200);
  const bottom = HEIGHT - MARGIN.bottom;
  const inside = width - MARGIN.left - MARGIN.right;
  const x = (index) => MARGIN.left + (inside * (index + 0.5)) / Math.max(points.length, 20);
  const y = (probability) => {
    const share = Math.log(Math.max(probability, LEAST)) / Math.log(LEAST);
    return MARGIN.top + share * (bottom - MARGIN.top);
  };
  const across = (probability, name, from = MARGIN.left, to = width - MARGIN.right) =>
    svg("line", { class: name, x1: from, x2: to, y1: y(probability), y2: y(probability) });

  const drawing = svg("svg", { width, height: HEIGHT, role: "img",
    "aria-labelledby": "chart-title chart-text" });
  for (const decade of DECADES) {
    const label = decade === LEAST ? "less" : short(decade);
    drawing.append(across(decade, "grid"), written(label, MARGIN.left - 6, y(decade) + 4));
  }
  const axis = points.length > 1 ? `token 1 to ${points.length}` : "token";
  drawing.append(written(axis, width - MARGIN.right, HEIGHT - 5));
  if (threshold > 0 || first > 0) {
    const label = `threshold ${short(threshold)}`;
    drawing.append(across(first, "threshold", MARGIN.left, x(0.5)),
      across(threshold, "threshold", x(0.5)),
      written(label, width - MARGIN.right, y(threshold) - 5));
  }
  drawing.append(svg("polyline", { class: "line", points: points
    .map((point, index) => `${x(index)},${y(point.call_probability)}`).join(" ") }));
  points.forEach((point, index) => {
    const name = point.kind === "sampled" ? "point" : "point opened";
    const dot = svg("circle", { class: name, cx: x(index), cy: y(point.call_probability), r: 3 });
    const told = `token ${index + 1} “${point.text}”: ${short(point.call_probability)}`;
    dot.append(svg("title", {}, told));
    drawing.append(dot);
  });
  place.replaceChildren(drawing);
  const ofTools = own.length ? " The threshold is that of the tool that needs least." : "";
  return inWords(points, threshold, first) + ofTools + whyNoFurther(calls, model.max_calls);
}

// Why none opens, even where the line crosses the threshold.
function whyNoFurther(calls, maxCalls) {
  if (calls.some((call) => call.undone)) return " None opens behind a call that was taken back.";
  const isUsedUp = calls.length && calls.length >= maxCalls;
  return isUsedUp ? ` None opens behind the last call: max_calls (${maxCalls}) is used up.` : "";
}

function inWords(points, threshold, first) {
  const named = (value) => (value > 0 ? `threshold ${short(value)}` : "no threshold");
  const rule = named(threshold) + (first === threshold ? "" : ` (at token 1 ${named(first)})`);
  if (!points.length) return `No probabilities so far, ${rule}.`;
  const probabilities = points.map((point) => point.call_probability);
  const highest = Math.max(...probabilities);
  const token = probabilities.indexOf(highest) + 1;
  const opened = points.filter((point) => point.kind !== "sampled").length;
  const dots = opened ? " Dots mark where a call was opened." : "";
  return `Highest ${short(highest)} at token ${token}, ${rule}.${dots}`;
}
