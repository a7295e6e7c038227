// Selects the example prompts to show: the first six whose tool the server has. Examples that the
// model continued correctly with a call during its evaluation replace those of this file.

const SHOWN = 6;
const EXAMPLES = [
  { tool: "Calculator", text: "The choir sold 148 tickets at 12 crowns each, so it took 148 * 12 =" },
  { tool: "Calculator", text: "A box has 36 eggs, so 45 boxes have 36 * 45 =" },
  { tool: "Calendar", text: "Today is" },
  { tool: "QA", text: "The novel Pride and Prejudice was written by" },
  { tool: "WikiSearch", text: "The Great Barrier Reef lies off the coast of" },
  { tool: "MT", text: "The title of the novel La casa junto al mar means" },
  { tool: "Calculator", text: "Of the 650 pupils 182 come by bus, so those who walk are 650 - 182 =" },
  { tool: "Calendar", text: "The library is closed on Sundays, and today is" },
  { tool: "QA", text: "Marie Curie was born in the city of" },
  { tool: "WikiSearch", text: "Penicillin was discovered in the year" },
  { tool: "MT", text: "The sign says “Salida de emergencia”, which means" },
];
const WITHOUT_TOOL = [
  { tool: null, text: "The capital of Norway is" },
  { tool: null, text: "Water boils at a temperature of" },
  { tool: null, text: "The days of the week are Monday," },
  { tool: null, text: "A year has twelve months, and a month has" },
  { tool: null, text: "The first people on the moon were" },
  { tool: null, text: "For a simple bread you need flour," },
];

export function fittingExamples(tools, measured = []) {
  const fitting = (examples) => examples.filter(({ tool }) => tools.includes(tool));
  const own = fitting(measured);
  return (own.length ? own : [...fitting(EXAMPLES), ...WITHOUT_TOOL]).slice(0, SHOWN);
}
