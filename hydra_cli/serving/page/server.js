// Talks to the server that this page came from, and to nobody else.

const KEPT = "hydra-pers-key";
let key = kept();

function kept() {
  try {
    return sessionStorage.getItem(KEPT) ?? "";
  } catch {
    return ""; // storage is blocked: the key lives as long as the page
  }
}

export const hasKey = () => key !== "";

/** Until the tab is closed; never in localStorage, which outlives it. */
export function useKey(value) {
  key = value.trim();
  try {
    if (key) sessionStorage.setItem(KEPT, key);
    else sessionStorage.removeItem(KEPT);
  } catch {
    // as above
  }
}

/** What a request ended with, in words for the person at the page. */
export class Refused extends Error {
  constructor(status, said, code) {
    super(inWords(status, said, code));
    this.status = status;
    this.code = code;
  }
}

function inWords(status, said, code) {
  if (status === 0) return "The server can't be reached. Is hydra-pers serve still running?";
  if (status === 401 && code !== "no_keys") return hasKey() ? "The server doesn't know this key." : "This server wants a key.";
  const told = said || `The server answered with status ${status}.`;
  if (status === 429) return `Too much at once: ${told}`;
  if (status === 502 || status === 504) return `The LLM didn't answer: ${told}`;
  return told.charAt(0).toUpperCase() + told.slice(1);
}

async function request(path, { body, signal, headers = {} } = {}) {
  const sent = { ...headers };
  if (key) sent.Authorization = `Bearer ${key}`;
  if (body !== undefined) sent["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(path, {
      method: body === undefined ? "GET" : "POST",
      headers: sent,
      body: body === undefined ? undefined : JSON.stringify(body),
      signal,
      cache: "no-store",
      credentials: "omit",
      referrerPolicy: "no-referrer",
    });
  } catch (error) {
    throw error.name === "AbortError" ? error : new Refused(0);
  }
  if (response.ok) return response;
  throw refused(response.status, await response.json().catch(() => ({})));
}

const refused = (status, said) => new Refused(status, said.error?.message, said.error?.code);

export const get = async (path, options) => (await request(path, options)).json();
export const post = async (path, body) => (await request(path, { body })).json();

/** Chunks of an answer as they come. Ends at [DONE]; an answer that breaks off is an error. */
export async function* stream(path, body, signal) {
  const response = await request(path, { body, signal, headers: { "x-hydra-explain": "1" } });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read().catch((error) => {
      throw error.name === "AbortError" ? error : new Refused(0);
    });
    if (done) throw new Refused(502, "the answer broke off");
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      if (!line.startsWith("data:")) continue; // pings are comments
      const data = line.slice(5).trim();
      if (data === "[DONE]") return;
      const chunk = JSON.parse(data);
      if (chunk.error) throw refused(chunk.error.type === "api_error" ? 502 : 400, chunk);
      yield chunk;
    }
  }
}
