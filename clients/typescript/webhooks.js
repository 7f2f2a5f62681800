// Checks that a webhook was sent by the platform (Standard Webhooks 1.0). See webhooks.d.ts.

import { ClientError } from "./errors.js";

const TOLERANCE_S = 300; // how far the sender's clock and ours may be apart

export class NotVerified extends ClientError {}

const bytesOf = (base64) => {
  try {
    return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  } catch {
    return undefined;
  }
};

export const verifyWebhook = async (secret, headers, body, { nowMs = Date.now() } = {}) => {
  const found = headers.get
    ? (name) => headers.get(name)
    : (name) => Object.entries(headers).find(([given]) => given.toLowerCase() === name)?.[1];
  const [id, timestamp, signatures] = ["id", "timestamp", "signature"].map((name) => {
    const value = found(`webhook-${name}`);
    if (!value) throw new NotVerified(`the header webhook-${name} is not there`);
    return value;
  });
  if (!/^\d+$/.test(timestamp)) throw new NotVerified("webhook-timestamp is no number of seconds");
  const apartS = Math.abs(nowMs / 1000 - timestamp);
  if (apartS > TOLERANCE_S)
    throw new NotVerified(`it was signed ${Math.round(apartS)} s from now, and at most ${TOLERANCE_S} are taken`);
  const encoder = new TextEncoder();
  const bytes = typeof body === "string" ? encoder.encode(body) : new Uint8Array(body);
  const head = encoder.encode(`${id}.${timestamp}.`);
  const signed = new Uint8Array(head.length + bytes.length);
  signed.set(head);
  signed.set(bytes, head.length);
  const hmac = { name: "HMAC", hash: "SHA-256" };
  let good = false;
  for (const each of [].concat(secret)) {
    const raw = bytesOf(each.replace(/^whsec_/, ""));
    if (!raw?.length) throw new NotVerified("a secret looks like whsec_ and base64");
    const key = await crypto.subtle.importKey("raw", raw, hmac, false, ["verify"]);
    for (const given of signatures.split(" ")) {
      const signature = given.startsWith("v1,") && bytesOf(given.slice(3));
      if (signature && (await crypto.subtle.verify(hmac, key, signature, signed))) good = true;
    }
  }
  if (!good) throw new NotVerified("no signature is one of these secrets'");
  return JSON.parse(new TextDecoder().decode(bytes));
};
