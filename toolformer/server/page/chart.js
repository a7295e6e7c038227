// Draws the probability of opening a call at each token, with a logarithmic axis.

const NAMESPACE = "http://www.w3.org/2000/svg";
const HEIGHT = 150;
const MARGIN = { left: 54, right: 4, top: 16, bottom: 22 };
// Smaller probabilities are drawn at the lower edge.
const MIN_SHOWN = 1e-5;
const DECADES = [1, 0.1, 0.01, 1e-3, 1e-4, MIN_SHOWN];

function svg(name, attributes, text) {
  const made = document.createElementNS(NAMESPACE, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

const written = (text, x, y) => svg("text", { x, y, "text-anchor": "end" }, text);
const short = (probability) => String(Number(probability.toPrecision(2)));

// Draws the chart of an answer into an element and returns its description in words. Tokens within
// calls have no probability.
export function drawChart(container, { tokens, calls }, model) {
  // Thresholds can differ by tool. Show the lowest, which every call has to reach.
  const byTool = Object.values(model.min_call_probability_by_tool);
  const lowest = (all, name) => Math.min(all, ...byTool.map((values) => values[name]));
  const threshold = lowest(model.min_call_probability, "in_text");
  const first = lowest(model.min_call_probability_behind_prompt, "behind_prompt");
  const points = tokens.filter((token) => token.call_probability !== null);
  const width = Math.max(container.clientWidth, 200);
  const bottom = HEIGHT - MARGIN.bottom;
  const inside = width - MARGIN.left - MARGIN.right;
  const x = (index) => MARGIN.left + (inside * (index + 0.5)) / Math.max(points.length, 20);
  const y = (probability) => {
    const share = Math.log(Math.max(probability, MIN_SHOWN)) / Math.log(MIN_SHOWN);
    return MARGIN.top + share * (bottom - MARGIN.top);
  };
  const across = (probability, name, from = MARGIN.left, to = width - MARGIN.right) =>
    svg("line", { class: name, x1: from, x2: to, y1: y(probability), y2: y(probability) });

  const drawing = svg("svg", { width, height: HEIGHT, role: "img",
    "aria-labelledby": "chart-title chart-text" });
  for (const decade of DECADES) {
    const label = decade === MIN_SHOWN ? "less" : short(decade);
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
    const label = `token ${index + 1} “${point.text}”: ${short(point.call_probability)}`;
    dot.append(svg("title", {}, label));
    drawing.append(dot);
  });
  container.replaceChildren(drawing);
  const note = byTool.length ? " The threshold shown is the lowest of all tools." : "";
  return inWords(points, threshold, first) + note + whyNoMoreCalls(calls, model.max_calls);
}

// Explains why no call opens although the line may cross the threshold.
function whyNoMoreCalls(calls, maxCalls) {
  if (calls.some((call) => call.undone)) return " No call opens after one has been removed.";
  const isLimitReached = calls.length && calls.length >= maxCalls;
  return isLimitReached ? ` No more calls open, since max_calls (${maxCalls}) is reached.` : "";
}

function inWords(points, threshold, first) {
  const named = (value) => (value > 0 ? short(value) : "none");
  const atFirst = first === threshold ? "" : ` (token 1: ${named(first)})`;
  const thresholds = `Threshold: ${named(threshold)}${atFirst}.`;
  if (!points.length) return `No probabilities yet. ${thresholds}`;
  const probabilities = points.map((point) => point.call_probability);
  const highest = Math.max(...probabilities);
  const token = probabilities.indexOf(highest) + 1;
  const opened = points.filter((point) => point.kind !== "sampled").length;
  const dots = opened ? " Filled dots mark tokens at which a call opened." : "";
  return `Highest probability: ${short(highest)} at token ${token}. ${thresholds}${dots}`;
}
