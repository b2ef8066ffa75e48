// Run with the official `openai` package of npm alone: what its user gets, as JSON.
import OpenAI from "openai";
import { readFileSync } from "node:fs";

const model = process.env.MODEL;
const personal = `hydra/${model}`;
const asked = [
  { role: "system", content: "Be kind." },
  { role: "user", content: "Is the lamp safe?" },
];
const tool = {
  type: "function",
  function: { name: "weather", parameters: { type: "object", properties: {} } },
};
const client = new OpenAI();
const create = (options = {}) =>
  client.chat.completions.create({ model: personal, messages: asked, user: "mia", ...options });

async function streamed(options = {}) {
  const found = { text: "", roles: [], finishes: [], usage: [], hydra: [], calls: [] };
  for await (const chunk of await create({ stream: true, ...options })) {
    if (chunk.usage) found.usage.push(chunk.usage.total_tokens);
    if (chunk.hydra) found.hydra.push(chunk.hydra);
    const choice = chunk.choices[0];
    if (!choice) continue;
    found.text += choice.delta.content ?? "";
    if (choice.delta.role) found.roles.push(choice.delta.role);
    found.finishes.push(choice.finish_reason ?? null);
    for (const call of choice.delta.tool_calls ?? []) found.calls.push(call.function.name);
  }
  return found;
}

async function error(work) {
  try {
    await work();
  } catch (error) {
    return {
      type: error.constructor.name,
      status: error.status,
      param: error.param ?? null,
      message: error.message,
    };
  }
  return null;
}

async function leftEarly() {
  for await (const _ of await create({ stream: true })) break;
  return true;
}

const { data: explained, response } = await client.chat.completions
  .create(
    { model: personal, messages: asked, user: "mia" },
    { headers: { "x-hydra-explain": "1" } },
  )
  .withResponse();
const models = [];
for await (const one of client.models.list()) models.push(one.id);
const embedded = await client.embeddings.create({
  model: process.env.ENCODER,
  input: ["Is the lamp safe?", "mug"],
});
const version = JSON.parse(readFileSync("node_modules/openai/package.json", "utf8")).version;

console.log(
  JSON.stringify({
    version,
    plain: await create(),
    explained: { headers: Object.fromEntries(response.headers), body: explained },
    several: await create({ n: 2 }),
    stream: await streamed(),
    stream_usage: await streamed({ stream_options: { include_usage: true } }),
    passed: await create({ model }),
    passed_stream: await streamed({ model }),
    unknown_user: await create({ user: "nobody" }),
    tool: await create({ tools: [tool] }),
    tool_stream: await streamed({ tools: [tool] }),
    json: await create({ response_format: { type: "json_object" } }),
    models,
    model: (await client.models.retrieve(personal)).id,
    embeddings: embedded.data.map((one) => one.embedding.length),
    records: await client.get("/users/mia/records"),
    left: await leftEarly(),
    after: (await create()).choices[0].message.content,
    errors: {
      temperature: await error(() => create({ temperature: 9 })),
      messages: await error(() => create({ messages: [] })),
      task: await error(() => create({ model: `${personal}@nosuch` })),
      responses: await error(() => client.responses.create({ model: personal, input: "hi" })),
      records: await error(() => client.get("/users/nobody/records")),
    },
  }),
);
