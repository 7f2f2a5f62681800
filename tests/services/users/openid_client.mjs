// npm's openid-client as another application:
// node openid_client.mjs NODE_MODULES ISSUER CLIENT SECRET REDIRECT_URI AFTER RESOURCE
// It writes where the browser goes, reads where that came back to, and writes what it found.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const [modules, issuer, clientId, secret, redirectUri, after] = process.argv.slice(2);
const found = createRequire(`${modules}/here.js`).resolve("openid-client");
const client = await import(pathToFileURL(found).href);
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const say = (said) => console.log(JSON.stringify(said));
const plain = { execute: [client.allowInsecureRequests] };

const config = await client.discovery(new URL(issuer), clientId, secret, undefined, plain);
client.enableNonRepudiationChecks(config); // verify ID tokens by the published keys too
const pkceCodeVerifier = client.randomPKCECodeVerifier();
const expectedState = client.randomState();
const expectedNonce = client.randomNonce();
say({
  url: client.buildAuthorizationUrl(config, {
    redirect_uri: redirectUri,
    scope: "openid profile email offline_access",
    code_challenge: await client.calculatePKCECodeChallenge(pkceCodeVerifier),
    code_challenge_method: "S256",
    state: expectedState,
    nonce: expectedNonce,
    max_age: "3600",
  }).href,
});
const cameBackTo = new URL((await lines.next()).value);
const tokens = await client.authorizationCodeGrant(config, cameBackTo, {
  pkceCodeVerifier, expectedState, expectedNonce, maxAge: 3600, idTokenExpected: true,
});
const claims = tokens.claims();
const who = await client.fetchUserInfo(config, tokens.access_token, claims.sub);
const fresh = await client.refreshTokenGrant(config, tokens.refresh_token);
const before = await client.tokenIntrospection(config, fresh.access_token);
const logout = client.buildEndSessionUrl(config, {
  post_logout_redirect_uri: after, id_token_hint: fresh.id_token, state: "bye",
});
await client.tokenRevocation(config, fresh.refresh_token);
const gone = await client.tokenIntrospection(config, fresh.access_token);
const spent = await client
  .authorizationCodeGrant(config, cameBackTo, { pkceCodeVerifier, expectedState, expectedNonce, maxAge: 3600 })
  .then(() => "taken", (error) => error.error);
const own = await client.clientCredentialsGrant(config, { scope: "records:read" });
say({ claims, who, before, gone, spent, own: own.scope, logout: logout.href });
