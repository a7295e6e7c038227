"use strict";
(() => {
  const form = document.getElementById("filters");
  if (!form) return;
  const texts = JSON.parse(document.getElementById("data").textContent);
  const shown = document.getElementById("shown");
  const more = document.getElementById("more");
  const AT_ONCE = 20;
  let found = [];
  let drawn = 0;

  const callsOf = (text) => text.parts.filter((part) => typeof part !== "string");
  const distinct = (values) => [...new Set(values)].sort();
  const fill = (name, values) => {
    for (const value of values) form.elements[name].append(new Option(value, value));
    if (values.length < 2) form.elements[name].parentElement.hidden = true;
  };
  const every = texts.flatMap(callsOf);
  fill("tool", distinct(every.map((call) => call.tool)));
  fill("round", distinct(texts.map((text) => text.round)));
  fill("reason", distinct(every.map((call) => call.reason).filter(Boolean)));

  function element(name, className, ...inside) {
    const made = document.createElement(name);
    made.className = className;
    made.append(...inside);
    return made;
  }

  function wanted(call, filter) {
    if (filter.tool && call.tool !== filter.tool) return false;
    if (filter.kept && call.kept !== (filter.kept === "kept")) return false;
    if (filter.reason && call.reason !== filter.reason) return false;
    if (filter.gain !== null && !(call.gain >= filter.gain)) return false;
    return true;
  }

  function holds(text, words) {
    if (!words) return true;
    const whole = text.parts
      .map((part) => (typeof part === "string" ? part : `${part.arguments} ${part.result ?? ""}`))
      .concat(text.title ?? "").join(" ").toLowerCase();
    return whole.includes(words);
  }

  const WRITERS = {
    none: "the model",
    position: "the model, at a position chosen by a rule of the tool",
    call: "a rule of the tool",
  };

  function details(call) {
    const atMost = call.reason?.endsWith("below_lowest_threshold") ? "at most " : "";
    const lines = [
      [call.kept ? "kept" : "dropped", call.kept ? "" : (call.reason ?? "").replaceAll("_", " ")],
      ["result", call.result ?? "none"],
      ["gain", call.gain === null ? "not scored" : `${atMost}${call.gain} nats`],
      ...(call.probability === null ? [] : [["p( [)", String(call.probability)]]),
      ["written by", WRITERS[call.proposed]],
      ["token by token", element("code", "", `toolformer explain ${call.id}`)],
    ];
    const box = element("span", "details");
    for (const [name, value] of lines) {
      box.append(element("span", "", element("b", "", name), " ", value), document.createElement("br"));
    }
    return box;
  }

  function callBox(call) {
    const written = call.kept
      ? `[${call.tool}(${call.arguments}) → ${call.result}]`
      : `[${call.tool}(${call.arguments})]`;
    const box = element("span", call.kept ? "call" : "call dropped", written, details(call));
    box.tabIndex = 0;
    box.style.setProperty("--tool", call.colour);
    const turnPopup = () => {
      const isRight = box.getBoundingClientRect().left > window.innerWidth / 2;
      box.lastChild.classList.toggle("from-right", isRight);
    };
    box.addEventListener("pointerenter", turnPopup);
    box.addEventListener("focus", turnPopup);
    return box;
  }

  function article(text, filter) {
    const name = text.title ?? `document ${text.document.slice(0, 12)}`;
    const heading = element("h4", "");
    if (text.url) {
      const link = element("a", "", name);
      link.href = text.url;
      link.rel = "noreferrer noopener";
      heading.append(link);
    } else {
      heading.append(name);
    }
    const origin = [text.date, text.shard, `window ${text.window}`, `round ${text.round}`];
    heading.append(" ", element("span", "", origin.filter(Boolean).join(" · ")));
    const body = element("p", "");
    for (const part of text.parts) {
      if (typeof part === "string") body.append(part);
      else if (wanted(part, filter)) body.append(callBox(part));
    }
    return element("article", "", heading, body);
  }

  function current() {
    const value = (name) => form.elements[name].value;
    return {
      tool: value("tool"), round: value("round"), kept: value("kept"), reason: value("reason"),
      gain: value("gain") === "" ? null : Number(value("gain")),
      words: value("words").trim().toLowerCase(),
    };
  }

  function draw() {
    const filter = current();
    for (const text of found.slice(drawn, drawn + AT_ONCE)) shown.append(article(text, filter));
    drawn = Math.min(drawn + AT_ONCE, found.length);
    more.hidden = drawn >= found.length;
    form.querySelector("output").value = `${drawn} of ${found.length} texts`;
  }

  function search() {
    const filter = current();
    found = texts.filter((text) =>
      (!filter.round || String(text.round) === filter.round) &&
      callsOf(text).some((call) => wanted(call, filter)) && holds(text, filter.words));
    drawn = 0;
    shown.replaceChildren();
    draw();
  }

  form.addEventListener("input", search);
  form.addEventListener("submit", (event) => event.preventDefault());
  more.addEventListener("click", draw);
  search();
})();
