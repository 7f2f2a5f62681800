// npm's oidc-provider on a free port: node oidc_provider.mjs NODE_MODULES REDIRECT_URI CLIENT SECRET
import { createRequire } from "node:module";
import { createServer } from "node:http";
import { pathToFileURL } from "node:url";

const [modules, redirectUri, clientId, clientSecret] = process.argv.slice(2);
const found = createRequire(`${modules}/here.js`).resolve("oidc-provider");
const { default: Provider } = await import(pathToFileURL(found).href);
const server = createServer();
server.listen(0, "127.0.0.1", () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, {
    clients: [{ client_id: clientId, client_secret: clientSecret, redirect_uris: [redirectUri] }],
    claims: { openid: ["sub"], email: ["email", "email_verified"], profile: ["name"] },
    conformIdTokenClaims: false,
    pkce: { required: () => true },
    findAccount: (_, id) => ({
      accountId: id,
      claims: () => ({ sub: id, email: `${id}@example.com`, email_verified: true, name: id }),
    }),
  });
  server.on("request", provider.callback());
  console.log(issuer);
});
