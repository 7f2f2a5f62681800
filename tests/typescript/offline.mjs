// Keeps writes in a file, and sends them. Told "lose", it gives the second's answer to nobody: it says
// so when the platform has acted, and waits to be killed. Told "send", it sends what is left.

import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";

const [, , sdk, url, key, file, wanted] = process.argv;
const { Client } = await import(`${sdk}/index.js`);
const { records } = await import(`${sdk}/services/records.js`);
const { Outbox } = await import(`${sdk}/outbox.js`);

const read = () => (existsSync(file) ? JSON.parse(readFileSync(file, "utf8")) : {});
const write = (values) => {
  writeFileSync(`${file}.new`, JSON.stringify(values));
  renameSync(`${file}.new`, file);
};
const storage = {
  getItem: async (name) => read()[name] ?? null,
  setItem: async (name, value) => write({ ...read(), [name]: value }),
  removeItem: async (name) => write({ ...read(), [name]: undefined }),
};
let calls = 0;
const named = "http://platform.example"; // its port is another one after each start
const direct = (target, init) => fetch(target.replace(named, url), init);
const losing = async (...call) => {
  const response = await direct(...call);
  if (++calls < 2) return response;
  console.log(response.status);
  return new Promise(() => setInterval(() => {}, 1_000));
};
const client = new Client({ url: named, apiKey: key, fetch: wanted === "lose" ? losing : direct });
const outbox = new Outbox(client, { storage });
if (wanted === "lose") {
  await new Client({ url, apiKey: key }).records.createCollection({ name: "notes", fields: [{ name: "text", type: "text" }] });
  for (const text of ["one", "two", "three"]) await outbox.of(records).create("notes", { text });
}
const sent = [];
const { error } = await outbox.flush({ onSent: ({ body }, { replayed }) => void sent.push([body.text, replayed]) });
const found = [];
for await (const each of client.records.list("notes", { sort: "id" })) found.push(each.text);
console.log(JSON.stringify({ sent, found, error: error?.message }));
