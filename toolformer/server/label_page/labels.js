// The page on which a person judges kept calls. What a model or a tool wrote becomes text nodes
// only, never markup.

import { ask } from "./server.js";

const NAME = "toolformer-rater";
const KEYS = { u: "useful", n: "not_useful", s: "unsure", arrowleft: "back" };
const at = (id) => document.getElementById(id);
const choices = ["useful", "not_useful", "unsure"].map(at);
let rater = localStorage.getItem(NAME);
// The calls that were left to judge, of which those judged here have their `label`; the one shown;
// and how many were judged before.
let [calls, shown, before] = [[], 0, 0];
// Whether a request runs: what is pressed meanwhile is not meant for the call that comes next.
let isWaiting = false;

const post = async (path, fields) =>
  (await ask(path, { method: "POST", body: JSON.stringify({ rater, ...fields }) })).json();

// A failure is told, and leaves the page as it is.
async function waitFor(work) {
  if (isWaiting) return;
  isWaiting = true;
  at("errors").replaceChildren();
  try {
    await work();
  } catch (error) {
    const row = document.createElement("p");
    row.textContent = error.message;
    if (error.status === 401) row.textContent += " The page at / asks for the key; then come back.";
    at("errors").append(row);
    if (at("judging").hidden) askName(true);
  }
  isWaiting = false;
}

async function begin() {
  const drawn = await post("calls");
  [calls, shown, before] = [drawn.calls, 0, drawn.judged];
  localStorage.setItem(NAME, rater);
  askName(false);
  show();
}

function askName(isAsked) {
  at("judging").hidden = isAsked;
  at("name-form").hidden = !isAsked;
  if (isAsked) at("name").focus();
}

function show() {
  const call = calls[shown];
  const [judged, total] = [before + calls.filter((each) => each.label).length, before + calls.length];
  at("progress").textContent = `${judged} of ${total} judged by ${rater}.`;
  Object.assign(at("bar"), { max: total || 1, value: judged });
  at("back").disabled = !shown;
  for (const choice of choices) {
    choice.disabled = !call;
    choice.setAttribute("aria-pressed", String(choice.id === call?.label));
  }
  const [mark, result] = [document.createElement("mark"), document.createElement("b")];
  mark.className = "call";
  result.textContent = call?.result;
  mark.append(`${call?.tool}(${call?.arguments}) → `, result);
  const end = total ? "All of these calls are judged." : "No call is kept yet. Run `toolformer build`.";
  at("call").replaceChildren(...(call ? [call.text_before, mark, call.text_after] : [end]));
  // Screen readers read it, and Tab leads on to the labels.
  at("call").focus();
  mark.scrollIntoView({ block: "center" });
}

async function judge(label) {
  const { loss_reduction, label: _, ...call } = calls[shown];
  await post("label", { label, call });
  calls[shown].label = label;
  // Told only now, so that it decides no label.
  const nats = `its result lowers the loss by ${loss_reduction.toFixed(2)} nats`;
  at("status").textContent = `${call.tool} judged ${label.replace("_", " ")}; ${nats}.`;
  const next = calls.findIndex((each) => !each.label);
  shown = next < 0 ? calls.length : next;
  show();
}

for (const choice of choices) {
  choice.addEventListener("click", () => waitFor(() => judge(choice.id)));
}
at("back").addEventListener("click", () => waitFor(() => {
  shown -= 1;
  show();
}));
at("rename").addEventListener("click", () => askName(true));
at("name-form").addEventListener("submit", (event) => {
  event.preventDefault();
  rater = at("name").value.trim();
  waitFor(begin);
});
document.addEventListener("keydown", (event) => {
  if (at("judging").hidden || event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
  at(KEYS[event.key.toLowerCase()])?.click();
});
if (rater) waitFor(begin);
else askName(true);
