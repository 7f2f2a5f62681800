// Draws the reference from /openapi.json. No dependency, nothing from elsewhere.
"use strict";

const METHODS = ["get", "post", "put", "patch", "delete"];
const NESTED_MAX = 5; // levels of fields inside fields
const NO_NUL = "^[^\\u0000]*$";
let spec = null;

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== null) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

// Text with `code` in it.
function prose(text, tag = "p") {
  const parts = (text || "").split(/(``?[^`]+``?)/);
  return make(tag, {}, ...parts.map((part) =>
    part.startsWith("`") ? make("code", {}, part.replaceAll("`", "")) : part));
}

function resolved(schema) {
  const name = schema && schema.$ref ? schema.$ref.split("/").pop() : null;
  return name ? spec.components.schemas[name] || {} : schema || {};
}

function typeOf(schema) {
  if (!schema) return "any";
  if (schema.$ref) return resolved(schema).title || schema.$ref.split("/").pop();
  if (schema.anyOf || schema.oneOf) return (schema.anyOf || schema.oneOf).map(typeOf).join(" | ");
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  if (schema.type === "array") return `${typeOf(schema.items)}[]`;
  if (Array.isArray(schema.type)) return schema.type.join(" | ");
  return schema.format || schema.type || "any";
}

function bounds(schema) {
  const told = [];
  const say = (name, text, unit = "") => {
    if (schema[name] !== undefined) told.push(`${text} ${schema[name]}${unit && ` ${unit}${schema[name] === 1 ? "" : "s"}`}`);
  };
  say("minimum", "≥"); say("maximum", "≤"); say("exclusiveMinimum", ">"); say("exclusiveMaximum", "<");
  say("minLength", "at least", "character"); say("maxLength", "at most", "character");
  say("minItems", "at least", "item"); say("maxItems", "at most", "item");
  if (schema.pattern && schema.pattern !== NO_NUL && !schema.description) told.push(schema.pattern);
  if (schema.default !== undefined && schema.default !== null) told.push(`default ${JSON.stringify(schema.default)}`);
  return told.join(", ");
}

function example(schema, depth = 0) {
  const whole = resolved(schema);
  if (whole.example !== undefined) return whole.example;
  if (whole.examples) return whole.examples[0];
  if (whole.default !== undefined && whole.default !== null) return whole.default;
  if (whole.const !== undefined) return whole.const;
  if (whole.enum) return whole.enum[0];
  const choice = (whole.anyOf || whole.oneOf || []).find((option) => option.type !== "null");
  if (choice) return example(choice, depth);
  if (whole.type === "object" && depth < 5) {
    const made = {};
    const wanted = new Set(whole.required || []);
    for (const [name, inner] of Object.entries(whole.properties || {})) {
      if (wanted.has(name) || !wanted.size) made[name] = example(inner, depth + 1);
    }
    return made;
  }
  if (whole.type === "array") return depth < 5 && whole.items ? [example(whole.items, depth + 1)] : [];
  if (whole.type === "integer" || whole.type === "number") return whole.minimum ?? 1;
  if (whole.type === "boolean") return true;
  if (whole.format === "date-time") return "2026-01-31T12:00:00.000Z";
  if (whole.format === "email") return "ada@example.com";
  if (whole.format === "uri" || whole.format === "url") return "https://example.com/";
  return whole.type === "string" ? "text" : {};
}

// The object a schema is, or is a list of; null for anything else.
function objectIn(schema) {
  const whole = resolved(schema);
  const choice = (whole.anyOf || whole.oneOf || []).filter((option) => option.type !== "null");
  if (choice.length === 1) return objectIn(choice[0]);
  if (whole.type === "array") return whole.items ? objectIn(whole.items) : null;
  return whole.properties ? whole : null;
}

function fields(schema, depth = 0) {
  const inner = objectIn(schema);
  if (!inner) return prose(typeOf(schema) === "any" ? "Any JSON." : typeOf(schema));
  const required = new Set(inner.required || []);
  return rows(Object.entries(inner.properties).map(([name, property]) => ({
    name, required: required.has(name), schema: property, description: property.description })), depth);
}

function rows(entries, depth = 0) {
  const body = make("tbody");
  for (const entry of entries) {
    const inner = depth < NESTED_MAX && entry.schema ? objectIn(entry.schema) : null;
    body.append(make("tr", {},
      make("td", {}, make("code", {}, entry.name),
        entry.required ? make("span", { class: "required", title: "required" }, " *") : null),
      make("td", { class: "soft" }, typeOf(entry.schema)),
      make("td", {}, prose(entry.description, "span"), " ",
        make("span", { class: "soft" }, bounds(entry.schema || {})),
        inner ? unfolding(`Fields of ${entry.name}`, () => fields(entry.schema, depth + 1)) : null)));
  }
  const head = make("thead", {}, make("tr", {}, ...["Name", "Type", "Meaning"].map((t) => make("th", { scope: "col" }, t))));
  return make("table", {}, head, body);
}

// Drawn when it is opened: most are not.
function unfolding(title, draw) {
  const element = make("details", {}, make("summary", {}, title));
  element.addEventListener("toggle", () => { if (element.children.length === 1) element.append(draw()); });
  return element;
}

function headers(operation) {
  return (operation["x-headers"] || []).map(({ $ref }) => spec.components.parameters[$ref.split("/").pop()]);
}

function curl(method, path, operation) {
  const quote = (text) => `'${text.replaceAll("'", "'\\''")}'`;
  const lines = [`curl ${method === "get" ? "" : `-X ${method.toUpperCase()} `}${quote(location.origin + path)}`];
  if ((operation.security || []).length) lines.push(`-H "Authorization: Bearer $MAINSPRING_KEY"`);
  if (headers(operation).some((header) => header.name === "Idempotency-Key")) {
    lines.push(`-H "Idempotency-Key: $(uuidgen)"`);
  }
  const content = operation.requestBody ? operation.requestBody.content : {};
  if (content["application/json"]) {
    lines.push(`-H 'Content-Type: application/json'`);
    lines.push(`-d ${quote(JSON.stringify(example(content["application/json"].schema)))}`);
  } else if (operation.requestBody) {
    lines.push("--data-binary @file");
  }
  return lines.join(" \\\n  ");
}

function code(text) {
  const copy = make("button", { type: "button" }, "Copy");
  copy.addEventListener("click", async () => {
    if (!navigator.clipboard) {  // a page that came by plain HTTP from elsewhere
      getSelection().selectAllChildren(whole.lastChild);
      return;
    }
    await navigator.clipboard.writeText(text);
    copy.textContent = "Copied";
    setTimeout(() => { copy.textContent = "Copy"; }, 1200);
  });
  const whole = make("pre", { tabindex: 0, "aria-label": "Example" }, copy, make("code", {}, text));
  return whole;
}

function answers(operation) {
  const body = make("tbody");
  for (const [status, response] of Object.entries(operation.responses)) {
    const name = response.$ref ? response.$ref.split("/").pop() : null;
    const whole = name ? spec.components.responses[name] : response;
    body.append(make("tr", {}, make("td", {}, make("code", {}, status)), make("td", {}, prose(whole.description, "span"))));
  }
  return make("table", {}, body);
}

// What stands before a mark, and what after it.
function parted(text, mark) {
  const [before, after] = text.split(mark);
  return [before, after || ""];
}

function section(path, method, operation) {
  const element = make("section", { class: "operation", id: operation.operationId });
  const [title, rest] = parted(operation.summary || operation.operationId, /\. (.*)/s);
  element.append(make("h3", {}, title));
  element.append(make("div", {}, make("span", { class: `method ${method}` }, method), " ",
    make("span", { class: "path" }, path), " ",
    operation["x-scope"] ? make("span", { class: "tag", title: "the scope it needs" }, operation["x-scope"]) : null));
  if (rest) element.append(prose(`${rest}.`));
  if (operation.description) element.append(prose(operation.description));
  const parameters = [...(operation.parameters || []), ...headers(operation)];
  if (parameters.length) element.append(make("h4", {}, "Parameters"), rows(parameters));
  const content = operation.requestBody ? operation.requestBody.content["application/json"] : null;
  if (content) element.append(make("h4", {}, "Body"), fields(content.schema));
  // The last with a body: a replayed 201 answers 200, and stands before it.
  const success = Object.entries(operation.responses).filter(([status, { content }]) => status.startsWith("2") && content).pop();
  const shown = success && success[1].content["application/json"];
  if (shown) element.append(make("h4", {}, `Answer (${success[0]})`), fields(shown.schema));
  element.append(make("h4", {}, "Example"), code(curl(method, path, operation)));
  element.append(unfolding("Every status", () => answers(operation)));
  element.dataset.text = `${method} ${path} ${operation.operationId} ${operation.summary || ""} ${operation.description || ""}`.toLowerCase();
  return element;
}

function failures() {
  const whole = make("section", { id: "errors" }, make("h2", {}, "Errors"), prose(spec.info.description));
  for (const failure of spec["x-errors"] || []) {
    const element = make("section", { id: `error-${failure.code}`, class: "operation" },
      make("h3", {}, make("code", {}, failure.code), " ", make("span", { class: "soft" }, String(failure.status))),
      prose(failure.doc));
    element.dataset.text = `error ${failure.code} ${failure.status} ${failure.doc}`.toLowerCase();
    whole.append(element);
  }
  return whole;
}

function draw() {
  document.title = `${spec.info.title} API reference`;
  document.getElementById("title").textContent = `${spec.info.title} ${spec.info.version}`;
  const main = document.getElementById("main");
  const contents = document.getElementById("contents");
  main.replaceChildren();
  contents.replaceChildren();
  for (const tag of spec.tags) {
    const group = make("section", { id: `tag-${tag.name}` }, make("h2", {}, tag.name), prose(tag.description));
    const links = make("div", {}, make("h2", {}, tag.name));
    for (const [path, methods] of Object.entries(spec.paths)) {
      for (const method of METHODS.filter((name) => methods[name])) {
        const operation = methods[method];
        if (!operation.tags.includes(tag.name)) continue;
        group.append(section(path, method, operation));
        const link = make("a", { href: `#${operation.operationId}` }, make("span", { class: `method ${method}` }, method),
          make("span", {}, parted(operation.summary || operation.operationId, /[.:;,] (.*)/s)[0]));
        link.dataset.to = operation.operationId;
        links.append(link);
      }
    }
    if (group.querySelector("section")) { main.append(group); contents.append(links); }
  }
  contents.append(make("h2", {}, "More"), make("a", { href: "#errors" }, "Errors"), make("a", { href: "/openapi.json" }, "openapi.json"));
  main.append(failures());
  search();
  const at = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (at) at.scrollIntoView();
}

function search() {
  const words = document.getElementById("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  const hidden = new Set();
  for (const element of document.querySelectorAll("section.operation[data-text]")) {
    element.hidden = !words.every((word) => element.dataset.text.includes(word));
    if (element.hidden) hidden.add(element.id);
  }
  for (const link of document.querySelectorAll("nav a[data-to]")) link.hidden = hidden.has(link.dataset.to);
  for (const group of document.querySelectorAll("main > section, nav > div")) {
    group.hidden = words.length > 0 && !group.querySelector(".operation:not([hidden]), a:not([hidden])");
  }
  const found = document.querySelectorAll("section.operation[data-text]:not([hidden])").length;
  say(words.length ? `${found || "Nothing"} found for “${words.join(" ")}”.` : "");
}

async function load() {
  const key = sessionStorage.getItem("mainspring.key");
  const answer = await fetch("/openapi.json", { headers: key ? { Authorization: `Bearer ${key}` } : {} });
  if (answer.status === 401 && key) {
    sessionStorage.removeItem("mainspring.key");
    await load();
    say("This key is unknown, revoked or expired. Shown is what everyone may see.");
    return;
  }
  if (!answer.ok) throw new Error(`/openapi.json answered ${answer.status}`);
  spec = await answer.json();
  draw();
}

function say(text) {
  document.getElementById("said").textContent = text;
}

function start() {
  const themed = localStorage.getItem("mainspring.theme");
  if (themed) document.documentElement.dataset.theme = themed;
  document.getElementById("theme").addEventListener("click", () => {
    const dark = document.documentElement.dataset.theme
      ? document.documentElement.dataset.theme === "dark"
      : matchMedia("(prefers-color-scheme: dark)").matches;
    document.documentElement.dataset.theme = dark ? "light" : "dark";
    localStorage.setItem("mainspring.theme", dark ? "light" : "dark");
  });
  const menu = document.getElementById("menu");
  const contents = document.getElementById("contents");
  const unfold = (open) => { contents.classList.toggle("open", open); menu.setAttribute("aria-expanded", open); };
  menu.addEventListener("click", () => unfold(!contents.classList.contains("open")));
  contents.addEventListener("click", (event) => { if (event.target.closest("a")) unfold(false); });
  document.getElementById("search").addEventListener("input", search);
  document.getElementById("login").addEventListener("submit", (event) => {
    event.preventDefault();
    sessionStorage.setItem("mainspring.key", document.getElementById("key").value.trim());
    load().catch(report);
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && !/^(INPUT|TEXTAREA)$/.test(document.activeElement.tagName)) {
      event.preventDefault();
      document.getElementById("search").focus();
    }
  });
  load().catch(report);
}

function report(error) {
  document.getElementById("main").replaceChildren(make("p", {}, `The reference cannot be drawn: ${error.message}`));
}

start();
