// What OpenAI's SDK for JavaScript makes of Diglot: `node sdk.mjs SCENARIO` prints it as JSON.
// What it should be, test_openai_node.py says.

import OpenAI from 'openai';

const client = new OpenAI({ baseURL: process.env.BASE_URL, apiKey: process.env.API_KEY, maxRetries: 0 });
const model = 'scripted';
const ask = (content, rest = {}) => ({ model, messages: [{ role: 'user', content }], ...rest });
const script = (scripted, rest = {}) => ask('hello', { scripted, ...rest });

const weather = {
  type: 'function',
  function: {
    name: 'weather',
    description: 'The weather in a city.',
    parameters: {
      type: 'object',
      properties: { city: { type: 'string' } },
      required: ['city'],
      additionalProperties: false,
    },
  },
};
const callsWeather = {
  tool_calls: [
    { name: 'weather', arguments: '{"city":"Paris"}' },
    { name: 'weather', arguments: '{"city":"Rome"}' },
  ],
};

async function failing(promise) {
  try {
    await promise;
    return { name: 'nothing' };
  } catch (error) {
    const { status, code, param, type, message, requestID } = error;
    return { name: error.constructor.name, status, code, param, type, message, requestID };
  }
}

const scenarios = {
  async create() {
    const { data, request_id } = await client.chat.completions
      .create(ask('Grüße 🙂', { n: 2, logprobs: true, top_logprobs: 1 }))
      .withResponse();
    return { answer: data, request_id };
  },

  async stream() {
    const stream = await client.chat.completions.create(
      ask('one two three', { stream: true, stream_options: { include_usage: true } }),
    );
    const chunks = [];
    for await (const chunk of stream) chunks.push(chunk);
    return chunks;
  },

  async helper() {
    const events = [];
    const runner = client.chat.completions.stream(
      ask('one two three', { n: 2, stream_options: { include_usage: true } }),
    );
    runner.on('content', (delta, snapshot) => events.push([delta, snapshot]));
    const completion = await runner.finalChatCompletion();
    return { events, completion };
  },

  async toolEvents() {
    const runner = client.chat.completions.stream(script(callsWeather, { tools: [weather] }));
    const pieces = [];
    const done = [];
    runner.on('tool_calls.function.arguments.delta', (event) => pieces.push(event));
    runner.on('tool_calls.function.arguments.done', (event) => done.push(event));
    const completion = await runner.finalChatCompletion();
    return { pieces, done, completion };
  },

  async runTools() {
    const asked = [];
    const tool = {
      type: 'function',
      function: {
        ...weather.function,
        parse: JSON.parse,
        function: ({ city }) => {
          asked.push(city);
          return `sun in ${city}`;
        },
      },
    };
    const params = script(callsWeather, { tools: [tool] });
    const whole = client.chat.completions.runTools(params);
    const streamed = client.chat.completions.runTools({ ...params, stream: true });
    return { answers: [await whole.finalContent(), await streamed.finalContent()], asked };
  },

  async parse() {
    const schema = {
      type: 'object',
      properties: { city: { type: 'string' } },
      required: ['city'],
      additionalProperties: false,
    };
    const completion = await client.chat.completions.parse(
      script(
        { content: '{"city": "Paris"}' },
        {
          response_format: {
            type: 'json_schema',
            json_schema: { name: 'place', schema, strict: true },
            $brand: 'auto-parseable-response-format',
            $parseRaw: JSON.parse,
          },
        },
      ),
    );
    return completion.choices[0].message.parsed;
  },

  async errors() {
    const wrongKey = new OpenAI({ baseURL: process.env.BASE_URL, apiKey: 'wrong', maxRetries: 0 });
    const midway = await client.chat.completions.create(
      script({ tokens: 5, content: ' x', fail: 'ENGINE_LOST', fail_after: 2 }, { stream: true }),
    );
    return {
      invalid: await failing(client.chat.completions.create(ask('hello', { temperature: 3 }))),
      key: await failing(wrongKey.models.list()),
      model: await failing(client.chat.completions.create({ ...ask('hello'), model: 'none' })),
      rate: await failing(
        client.chat.completions.create(script({ fail: 'RATE_LIMIT_EXCEEDED' })),
      ),
      lost: await failing(client.chat.completions.create(script({ fail: 'ENGINE_LOST' }))),
      midway: await failing((async () => { for await (const _ of midway); })()),
    };
  },

  async abort() {
    const stream = await client.chat.completions.create(
      script({ content: ' word', tokens: 1000, interval_ms: 60000 }, { stream: true }),
    );
    for await (const chunk of stream) break; // leaving the loop aborts the request
    return { aborted: stream.controller.signal.aborted };
  },

  async models() {
    const listed = [];
    for await (const one of client.models.list()) listed.push(one);
    return { listed, one: await client.models.retrieve(model) };
  },

  async stored() {
    const completions = client.chat.completions;
    const metadata = { topic: 'a b&c' };
    const made = [];
    for (const content of ['first', 'second', 'third']) {
      made.push(await completions.create(ask(content, { store: true, metadata })));
    }
    const [first] = made;
    const listed = [];
    for await (const one of completions.list({ limit: 2, metadata, model })) listed.push(one.id);
    const none = await completions.list({ metadata: { topic: 'other' } });
    const messages = [];
    for await (const one of completions.messages.list(first.id)) messages.push(one);
    const updated = await completions.update(first.id, { metadata: { topic: 'new' } });
    const retrieved = await completions.retrieve(first.id);
    const deleted = await completions.delete(first.id);
    const gone = await failing(completions.retrieve(first.id));
    return {
      made: made.map((one) => one.id),
      listed,
      none: none.data,
      messages,
      updated: updated.metadata,
      retrieved,
      deleted,
      gone,
    };
  },
};

console.log(JSON.stringify(await scenarios[process.argv[2]]()));
