// The body of a function that runs in a page: what it returns is what a test compares.
const [url, account] = arguments;
return (async () => {
  const { Client, answerOf } = await import("/sdk/index.js");
  let renewals = 0;
  const counting = (target, init) => {
    if (target.endsWith("/v1/sessions/refresh")) renewals++;
    return fetch(target, init);
  };
  const made = () => new Client({ url, storage: localStorage, fetch: counting });
  await made().login(account.email, account.password);
  const [name] = Object.keys(localStorage);
  localStorage.setItem(name, JSON.stringify({ ...JSON.parse(localStorage.getItem(name)), endsMs: 0 }));
  const tabs = [made(), made(), made()]; // Web Locks hold between them
  const [me] = await Promise.all(tabs.map((each) => each.users.getMe()));
  const [client] = tabs;
  const { headers } = await client.request("GET", "/v1/collections/posts/records");
  const stream = client.records.streamRecords("posts", { after: headers.get("stream-position") });
  const post = await client.records.create("posts", { title: "from a page" });
  const { value } = await stream.next();
  await stream.return();
  const refused = await client.records.get("posts", "rec_nobody").catch((error) => error.code);
  await client.logout();
  return {
    who: me.email, renewals, created: answerOf(post).status, streamed: value.json.record.title, refused,
    kept: localStorage.length,
  };
})();
