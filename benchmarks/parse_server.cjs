// Parse Server as it comes, on a PostgreSQL: node parse_server.cjs URL PORT
const express = require("express");
const { ParseServer } = require("parse-server");

const [databaseURI, port] = process.argv.slice(2);
const server = new ParseServer({
  databaseURI,
  appId: "bench",
  masterKey: "bench-master",
  maintenanceKey: "bench-maintenance",
  serverURL: `http://127.0.0.1:${port}/parse`,
  silent: true,
});
server.start().then(() => {
  express().use("/parse", server.app).listen(Number(port), "127.0.0.1");
});
