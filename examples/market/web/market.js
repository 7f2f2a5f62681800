// The market's page. It is served by whoever likes, and speaks to the platform on another origin: ?api=https://…

const api = new URLSearchParams(location.search).get("api") ?? sessionStorage.api;
sessionStorage.api = api;
const RECORDS = (collection) => `/v1/collections/${collection}/records`;
const $ = (selector) => document.querySelector(selector);

let session = JSON.parse(sessionStorage.session ?? "null"); // access_token, refresh_token, session_id, user
let renewed; // the refresh that is under way: of calls that find their token over, one asks

async function send(method, path, body, token) {
  const headers = token ? {Authorization: `Bearer ${token}`} : {};
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (method === "POST") headers["Idempotency-Key"] = crypto.randomUUID();
  return fetch(api + path, {method, headers, body: body === undefined ? undefined : JSON.stringify(body)});
}

async function call(method, path, body) {
  let answer = await send(method, path, body, session?.access_token);
  if (answer.status === 401 && session && (await refresh())) answer = await send(method, path, body, session.access_token);
  const told = answer.status === 204 ? null : await answer.json();
  if (!answer.ok) throw Object.assign(new Error(told.detail), {problem: told});
  return Object.assign(told ?? {}, {position: answer.headers.get("Stream-Position")});
}

async function refresh() {
  renewed ??= send("POST", "/v1/sessions/refresh", {refresh_token: session.refresh_token}).finally(() => { renewed = undefined; });
  const answer = (await renewed).clone();
  keep(answer.ok ? await answer.json() : null);
  return answer.ok;
}

function keep(tokens) {
  session = tokens;
  if (tokens) sessionStorage.session = JSON.stringify(tokens);
  else delete sessionStorage.session;
}

// Who it is

async function enter(tokens) {
  keep(tokens);
  await show();
}

async function withPassword(way, email, password) {
  if (way === "sign-up") await call("POST", "/v1/users", {email, password});
  await enter(await call("POST", "/v1/sessions", {email, password}));
}

async function withPasskey() {
  const {public_key} = await call("POST", "/v1/passkeys:begin", {});
  const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(public_key);
  const credential = (await navigator.credentials.get({publicKey})).toJSON();
  await enter(await call("POST", "/v1/sessions/passkey", {credential}));
}

async function addPasskey() {
  const {public_key} = await call("POST", "/v1/users/me/passkeys:begin");
  const publicKey = PublicKeyCredential.parseCreationOptionsFromJSON(public_key);
  const credential = (await navigator.credentials.create({publicKey})).toJSON();
  await call("POST", "/v1/users/me/passkeys", {credential, name: "This browser"});
  say("Your passkey is kept.");
}

const base64url = (bytes) => btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");

async function toIssuer() {
  const code_verifier = base64url(crypto.getRandomValues(new Uint8Array(32)));
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(code_verifier));
  sessionStorage.code_verifier = code_verifier;
  const redirect_uri = location.origin + location.pathname;
  const {url} = await call("POST", "/v1/logins", {provider: "company", redirect_uri, code_challenge: base64url(new Uint8Array(digest))});
  location.assign(url);
}

async function fromElsewhere() {
  const query = new URLSearchParams(location.search);
  if (query.get("verify")) {
    await call("POST", "/v1/users:verify_email", {token: query.get("verify")});
    say("Your address is proved.");
  }
  if (query.get("error")) say(`Your company did not let you in: ${query.get("error")}`);
  if (!query.get("code")) return;
  history.replaceState(null, "", location.pathname);
  const code_verifier = sessionStorage.code_verifier;
  delete sessionStorage.code_verifier;
  await enter(await call("POST", "/v1/logins:complete", {code: query.get("code"), code_verifier}));
}

async function logOut() {
  await call("DELETE", `/v1/sessions/${session.session_id}`);
  await enter(null);
}

// What there is

const items = async (collection, query = "") => (await call("GET", `${RECORDS(collection)}?limit=500${query}`)).items;

async function show() {
  $("#who").textContent = session ? `${session.user.email} (${session.user.id})` : "Not logged in";
  $("#log-out").hidden = $("#account").hidden = !session;
  $("#doors").hidden = Boolean(session);
  if (session) {
    // Somebody else's open stall is offered too, to see that the platform refuses it.
    choose("#offer-form [name=stall]", await items("stalls"));
    const teams = await items("teams");
    choose("#member-form [name=team]", teams);
    choose("#project-form [name=team]", teams);
    const projects = await items("projects", "&expand=team");
    $("#projects").replaceChildren(...projects.map((project) => line(project.title, project.expand?.team?.name ?? "")));
  }
  await follow();
}

function choose(selector, records) {
  $(selector).replaceChildren(...records.map(({id, name}) => new Option(name, id)));
}

function line(left, right) {
  const item = document.createElement("li");
  item.append(Object.assign(document.createElement("span"), {textContent: left}));
  item.append(Object.assign(document.createElement("span"), {textContent: right}));
  return item;
}

// Offers, live: the list first, then each change since, none left out.

const offers = new Map();
let source;

function drawOffers() {
  const sorted = [...offers.values()].sort((a, b) => a.price_cents - b.price_cents);
  $("#offers").replaceChildren(...sorted.map((offer) => line(offer.title, (offer.price_cents / 100).toFixed(2))));
}

async function follow() {
  source?.close();
  const page = await call("GET", `${RECORDS("offers")}?limit=500`);
  offers.clear();
  for (const offer of page.items) offers.set(offer.id, offer);
  drawOffers();
  let query = `after=${encodeURIComponent(page.position)}`;
  if (session) query += `&stream_token=${(await call("POST", "/v1/stream_tokens")).token}`;
  const opened = source = new EventSource(`${api}${RECORDS("offers")}:stream?${query}`);
  opened.addEventListener("ready", () => { $("#live").textContent = "live"; });
  opened.onmessage = ({data}) => {
    const {change, id, record} = JSON.parse(data);
    if (change === "removed") offers.delete(id);
    else offers.set(id, record);
    drawOffers();
  };
  // Rights that changed, a token that is over, a connection that broke: read it all again.
  const again = () => {
    opened.close();
    if (opened === source) setTimeout(() => attempt(follow), 1000);
  };
  opened.addEventListener("end", again);
  opened.onerror = again;
}

// What people do

function say(text) { $("#said").textContent = text; }

async function attempt(act) {
  say("");
  try {
    await act();
  } catch (error) {
    say(error.message);
  }
  document.body.dataset.done = Number(document.body.dataset.done ?? 0) + 1; // who watches the page can tell
}

function onSubmit(selector, act) {
  $(selector).addEventListener("submit", (event) => {
    event.preventDefault();
    const values = Object.fromEntries(new FormData(event.target, event.submitter));
    attempt(() => act(values, event.target));
  });
}

function onClick(selector, act) {
  $(selector).addEventListener("click", () => attempt(act));
}

function creates(selector, collection) {
  onSubmit(selector, async (values, form) => {
    const numbers = values.price_cents === undefined ? {} : {price_cents: Number(values.price_cents)};
    await call("POST", RECORDS(collection), {...values, ...numbers});
    form.reset();
    await show();
  });
}

onSubmit("#password-form", ({way, email, password}) => withPassword(way, email, password));
creates("#stall-form", "stalls");
creates("#offer-form", "offers");
creates("#team-form", "teams");
creates("#member-form", "memberships");
creates("#project-form", "projects");
onClick("#passkey-log-in", withPasskey);
onClick("#passkey-add", addPasskey);
onClick("#issuer-log-in", toIssuer);
onClick("#log-out", logOut);

await attempt(async () => {
  await fromElsewhere();
  await show();
});
document.body.dataset.ready = "yes";
