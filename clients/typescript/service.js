// Makes the methods of a service from its table: name → "METHOD /path how". See services/*.js.
//
// how: b a body, u an upload, p pages (p:after where its cursor is called so), s a stream, d bytes.

import { asked } from "./core.js";
import { ClientError } from "./errors.js";

export const service = (table) => (core) => {
  const made = {};
  for (const [name, line] of Object.entries(table)) made[name] = (...args) => call(core, name, line, args);
  return made;
};

// What a method sends: the request's method and path, and what else core.request takes.
export const requestOf = (name, line, args) => {
  const [method, template, how = ""] = line.split(" ");
  const rest = [...args];
  const path = template.replace(/\{(\w+)\}/g, (_, place) => {
    const value = rest.shift();
    if (value === undefined || value === null || value === "")
      throw new ClientError(`${name}: ${place} is missing: it stands in the path ${template}`);
    return encodeURIComponent(value);
  });
  const given = how === "b" || how === "u" ? rest.shift() : undefined;
  const { signal, timeoutMs, tries, idempotencyKey, ifMatch, mediaType, filename, ...query } = rest.shift() ?? {};
  if (rest.length) throw new ClientError(`${name} takes ${args.length - rest.length} arguments at most`);
  const request = { method, path, query, signal, timeoutMs, tries, idempotencyKey, ifMatch };
  if (how === "b") request.body = given;
  if (how === "u") {
    const called = filename ?? given?.name;
    request.raw = given;
    request.headers = {
      "Content-Type": mediaType || given?.type || "application/octet-stream",
      ...(called && { "Content-Disposition": `attachment; filename*=UTF-8''${encodeURIComponent(called).replace(/['()*]/g, (c) => "%" + c.charCodeAt(0).toString(16))}` }),
    };
  }
  return [how, request];
};

const call = (core, name, line, args) => {
  const [how, { method, path, query, ...more }] = requestOf(name, line, args);
  if (how === "s") return core.follow(path, query, more);
  if (how === "d") return new Download(core, path, query, more);
  if (how[0] === "p") return new Pages(core, path, query, more, how.slice(2) || "cursor");
  return core.request(method, path, { query, ...more }).then(({ data }) => data);
};

export class Pages {
  #read;

  constructor(core, path, query, more, place) {
    this.#read = async (cursor) =>
      (await core.request("GET", path, { query: { ...query, ...(cursor && { [place]: cursor }) }, ...more })).data;
  }

  page(cursor) {
    return this.#read(cursor);
  }

  async *pages() {
    let cursor;
    do {
      const page = await this.#read(cursor);
      yield page.items;
      cursor = page.next_cursor;
    } while (cursor);
  }

  async *[Symbol.asyncIterator]() {
    for await (const items of this.pages()) yield* items;
  }

  async first() {
    for await (const item of this) return item;
    return undefined;
  }
}

export class Download {
  #begin;

  constructor(core, path, query, more) {
    this.url = core.url + path + asked(query); // without who calls
    this.#begin = () => core.download(path, query, more);
  }

  [Symbol.asyncIterator]() {
    return this.#begin();
  }

  async blob(type) {
    const pieces = [];
    for await (const piece of this) pieces.push(piece);
    return new Blob(pieces, { type });
  }

  async bytes() {
    return new Uint8Array(await (await this.blob()).arrayBuffer());
  }

  async text() {
    return (await this.blob()).text();
  }
}
