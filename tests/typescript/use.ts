import { Client, NotFound, answerOf, ApiError } from "@mainspring/sdk";
import { Core } from "@mainspring/sdk/core";
import { records } from "@mainspring/sdk/services/records";
import { verifyWebhook } from "@mainspring/sdk/webhooks";
import { Outbox, Held } from "@mainspring/sdk/outbox";
interface Post { id: string; title: string }
const client = new Client({ url: "http://x", apiKey: "k", storage: localStorage });
export async function go() {
  const post = await client.records.create<Post>("posts", { title: "a" }, { idempotencyKey: "k" });
  if (post) { const etag = answerOf(post)?.etag; await client.records.update("posts", post.id, { title: "b" }, { ifMatch: etag }); }
  for await (const each of client.records.list<Post>("posts", { limit: 3 })) each.title.length;
  for await (const event of client.events.stream({ type: "records.*" })) event.json;
  try { await client.users.get("user_1"); } catch (error) { if (error instanceof NotFound && error.code === "not_found") error.requestId; if (error instanceof ApiError) error.errors[0].pointer; }
  const only = records(new Core({ url: "http://x" }));
  (await only.getFile("a", "b", "c").bytes()).length;
  await verifyWebhook("whsec_", new Headers(), "{}");
  const outbox = new Outbox(client, { storage: localStorage });
  const key: string = await outbox.of(records).create("posts", { title: "a" });
  const flushed = await outbox.flush({ onSent: (write, { replayed }) => void [write.key === key, replayed] });
  if (flushed.error instanceof Held) await outbox.drop(flushed.refused!.key);
  // @ts-expect-error: lists cannot wait
  outbox.of(records).list("posts");
  // @ts-expect-error: users have no such method
  await client.users.fly();
  // @ts-expect-error: a query that is not
  client.records.list("posts", { limitt: 3 });
}
