// Server-sent events as they come in, however they are cut (WHATWG HTML, 9.2.6).

import { ClientError } from "./errors.js";

const EVENT_CHARS_MAX = 1 << 24;

export class Parser {
  #rest = "";
  #data = [];
  #chars = 0;
  #event;
  #id;
  #decoder = new TextDecoder();

  constructor(lastId) {
    this.lastId = this.#id = lastId;
    this.retryMs = undefined;
  }

  feed(bytes) {
    const found = [];
    const text = this.#rest + this.#decoder.decode(bytes, { stream: true });
    const whole = text.endsWith("\r") ? text.length - 1 : text.length; // half of a CRLF, it may be
    const lines = text.slice(0, whole).split(/\r\n|\r|\n/);
    this.#rest = lines.pop() + text.slice(whole);
    for (const line of lines) this.#take(line, found);
    if (this.#chars + this.#rest.length > EVENT_CHARS_MAX)
      throw new ClientError(`an event of the stream is longer than ${EVENT_CHARS_MAX} characters`);
    return found;
  }

  #take(line, found) {
    if (!line) {
      this.lastId = this.#id;
      if (this.#data.length) found.push(new StreamEvent(this.#data.join("\n"), this.#id, this.#event));
      this.#data = [];
      this.#event = undefined;
      this.#chars = 0;
      return;
    }
    this.#chars += line.length;
    const [, name, value] = /^([^:]*):? ?(.*)$/s.exec(line);
    if (name === "data") this.#data.push(value);
    else if (name === "event") this.#event = value;
    else if (name === "id" && !value.includes("\0")) this.#id = value;
    else if (name === "retry" && /^\d+$/.test(value)) this.retryMs = +value;
  }
}

export class StreamEvent {
  constructor(data, id, event) {
    this.data = data;
    this.id = id;
    this.event = event;
  }

  get json() {
    return JSON.parse(this.data);
  }
}
