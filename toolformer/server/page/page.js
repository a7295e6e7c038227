// The playground. Texts of the model and the tools only become text nodes, never markup.

import { drawChart } from "./chart.js";
import { fittingExamples } from "./examples.js";
import { completion, setKey, soleModel } from "./server.js";

const at = (id) => document.getElementById(id);
// The model as described by /v1/models; null until the server has answered.
let model = null;
// Aborts the two running requests; null if there are none.
let running = null;
// The displayed text with calls, and the pending animation frame that draws its chart.
let shown = null;
let drawing = 0;
const WRITING = "Writing…";
// The announcement stays long enough for screen readers, and is then removed so that they do not
// read it twice.
const ANNOUNCED_MS = 5000;

function element(name, className, ...children) {
  const made = document.createElement(name);
  if (className) made.className = className;
  made.append(...children);
  return made;
}

// Errors

function showError(error) {
  const sentences = [...at("errors").children].map((row) => row.textContent);
  // Show an error of both requests only once.
  if (!sentences.includes(error.message)) at("errors").append(element("p", "", error.message));
  if (error.status === 401) {
    at("key-form").hidden = false;
    at("key").focus();
  }
}

// Model, settings, examples

async function loadModel() {
  model = await soleModel();
  const { tools, unavailable = {}, max_tokens, examples } = model.toolformer;
  at("model").textContent = model.id;
  at("max-tokens").max = max_tokens;
  at("max-tokens").value = Math.min(at("max-tokens").value, max_tokens);
  at("tools").replaceChildren(at("tools").querySelector("legend"), ...tools.map(toolChoice));
  if (!tools.length) at("tools").append(element("span", "faint", "This server has no tools."));
  const missing = Object.keys(unavailable);
  at("unavailable").hidden = !missing.length;
  at("unavailable").replaceChildren(
    element("summary", "", `Unavailable: ${missing.join(", ")}`),
    ...Object.values(unavailable).map((reason) => element("p", "", reason)),
  );
  showExamples(tools, examples);
}

function toolChoice(name) {
  const box = element("input");
  Object.assign(box, { type: "checkbox", name: "tool", value: name, checked: true });
  return element("label", "", box, ` ${name}`);
}

function showExamples(tools, measured) {
  at("examples").replaceChildren(...fittingExamples(tools, measured).map(({ tool, text }) => {
    const button = element("button", "example", element("span", "", `${text} …`));
    button.type = "button";
    if (tool) button.append(element("small", "faint", tool));
    button.addEventListener("click", () => {
      at("prompt").value = text;
      continueText();
    });
    return element("li", "", button);
  }));
}

async function connect() {
  try {
    await loadModel();
  } catch (error) {
    showError(error);
    showExamples([]);
  }
}

// Continuing a text: two requests, one with tools and one without

async function continueText() {
  if (!at("ask").reportValidity()) return;
  running?.abort();
  const mine = (running = new AbortController());
  at("errors").replaceChildren();
  at("key-form").hidden = true;
  at("stop").disabled = false;
  say(WRITING);
  // On a phone, the examples are below the answers.
  at("status").scrollIntoView({ block: "nearest" });
  try {
    if (!model) await loadModel();
    if (!mine.signal.aborted) await writeBoth(mine.signal);
  } catch (error) {
    if (!mine.signal.aborted) showError(error);
  }
  if (running === mine) rest();
}

async function writeBoth(signal) {
  const body = {
    model: model.id,
    prompt: at("prompt").value,
    max_tokens: Number(at("max-tokens").value),
  };
  const chosen = [...document.querySelectorAll("[name=tool]:checked")].map((box) => box.value);
  const tools = chosen.length ? chosen : "off";
  at("answers").hidden = false;
  shown = beginText("with", body.prompt);
  refreshChart();
  const began = performance.now();
  await Promise.all([
    write({ ...body, tools, call_probabilities: true }, shown, signal),
    write({ ...body, tools: "off" }, beginText("without", body.prompt), signal),
  ]);
  if (!signal.aborted) sayEnd(shown, performance.now() - began);
}

function beginText(id, prompt) {
  at(id).replaceChildren(element("span", "prompt", prompt));
  at(id).classList.add("writing");
  return { pane: at(id), tokens: [], calls: [], finish: null };
}

// Shows failures instead of throwing them, so that the other text continues.
async function write(body, text, signal) {
  try {
    for await (const { choices } of completion(body, signal)) {
      if (signal.aborted) return;
      for (const choice of choices) addChunk(choice, text);
    }
  } catch (error) {
    if (signal.aborted) return;
    const hasBegun = text.pane.childNodes.length > 1;
    text.pane.append(element("em", "faint", hasBegun ? " (interrupted)" : " (no answer)"));
    showError(error);
  }
  if (text.finish === "stop" && text.pane.textContent.trim() === body.prompt.trim()) {
    const note = " (The model added nothing. It continues texts: send the beginning of a sentence.)";
    text.pane.append(element("em", "faint", note));
  }
  text.pane.classList.remove("writing");
}

function addChunk({ text, finish_reason, toolformer = {} }, written) {
  if (toolformer.call) {
    written.calls.push(toolformer.call);
    // The text of a call includes the space before it.
    written.pane.append(" ", callElement(toolformer.call));
  } else if (text) {
    written.pane.append(text);
  }
  if (toolformer.tokens?.length) {
    written.tokens.push(...toolformer.tokens);
    refreshChart();
  }
  written.finish = finish_reason ?? written.finish;
}

function callElement(call) {
  if (call.undone) {
    const reason = ` removed: ${call.reason.replaceAll("_", " ")}`;
    return element(
      "mark", "call undone", unseen("Call: "), element("del", "", call.text.trim()),
      element("span", "reason", reason),
    );
  }
  const time = call.milliseconds.toLocaleString("en", { maximumSignificantDigits: 2 });
  return element(
    "mark", "call", unseen("Call: "), element("b", "tool", call.tool),
    element("span", "arguments", `(${call.arguments})`), " → ",
    element("span", "result", call.result), element("span", "time", ` ${time} ms`),
  );
}

const unseen = (text) => element("span", "unseen", text);

function stop() {
  if (!running) return;
  running.abort();
  rest();
  say("Stopped.");
}

function rest() {
  running = null;
  for (const pane of document.querySelectorAll(".writing")) pane.classList.remove("writing");
  if (at("status").textContent === WRITING) say("");
  // Disabling the focused button would move the focus to the top of the page.
  if (document.activeElement === at("stop")) at("continue").focus();
  at("stop").disabled = true;
}

function say(sentence) {
  at("status").textContent = sentence;
}

// Announces the text to screen readers once it is complete, rather than token by token.
function sayEnd({ pane, calls, finish }, milliseconds) {
  if (!finish) return;
  const answered = calls.filter((call) => !call.undone).length;
  const parts = [`${answered} call${answered === 1 ? "" : "s"}`];
  if (calls.length > answered) parts.push(`${calls.length - answered} removed`);
  parts.push(`${(milliseconds / 1000).toFixed(1)} s`);
  say(`${finish === "length" ? "Token limit reached" : "The text ended"}: ${parts.join(", ")}.`);
  at("announcement").textContent = pane.textContent;
  setTimeout(() => at("announcement").replaceChildren(), ANNOUNCED_MS);
}

// Draws at most once per frame.
function refreshChart() {
  cancelAnimationFrame(drawing);
  drawing = requestAnimationFrame(() => {
    at("chart-text").textContent = drawChart(at("chart"), shown, model.toolformer);
  });
}

at("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  continueText();
});
at("stop").addEventListener("click", stop);
at("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  setKey(at("key").value);
  at("key").value = "";
  at("key-form").hidden = true;
  at("errors").replaceChildren();
  at("prompt").focus();
  connect();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") stop();
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !event.repeat) {
    event.preventDefault();
    continueText();
  }
});
addEventListener("resize", () => shown && refreshChart());
connect();
