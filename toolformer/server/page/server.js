// Requests to the server. Addresses are relative, so they inherit a path prefix of the page.

const KEY = "toolformer-api-key";

// Failure with a message for the user. `status` is undefined if there was no response.
export class ServerError extends Error {
  constructor(sentence, status) {
    super(sentence);
    this.status = status;
  }
}

export function setKey(key) {
  sessionStorage.setItem(KEY, key);
}

// Returns the server's only model as described by /v1/models.
export async function soleModel() {
  const response = await ask("v1/models");
  return (await response.json()).data[0];
}

// Yields the chunks of a streamed completion.
export async function* completion(body, signal) {
  const response = await ask("v1/completions", {
    method: "POST",
    body: JSON.stringify({ ...body, stream: true }),
    signal,
  });
  for await (const data of events(response)) {
    if (data === "[DONE]") return;
    const chunk = JSON.parse(data);
    if (chunk.error) throw new ServerError(chunk.error.message);
    yield chunk;
  }
  throw new ServerError("The answer was interrupted. Try again.");
}

export async function ask(path, options = {}) {
  const headers = options.body ? { "Content-Type": "application/json" } : {};
  const key = sessionStorage.getItem(KEY);
  if (key) headers.Authorization = `Bearer ${key}`;
  let response;
  try {
    response = await fetch(path, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServerError("The server does not respond. Check that it is running and try again.");
  }
  if (response.ok) return response;
  // A proxy in front of the server may respond with something other than JSON.
  const { error } = await response.json().catch(() => ({}));
  const sentence = error?.message ?? `The server answered with status ${response.status}.`;
  throw new ServerError(sentence, response.status);
}

// Yields the data of server-sent events, each of which is one line here.
async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    let piece;
    try {
      piece = await reader.read();
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new ServerError("The connection to the server was lost. Try again.");
    }
    if (piece.done) return;
    const lines = (rest + piece.value).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      if (line.startsWith("data: ")) yield line.slice("data: ".length).trimEnd();
    }
  }
}
