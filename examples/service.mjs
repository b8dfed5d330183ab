// A day with the service in JavaScript: METASTORE_SERVICE is its address, METASTORE_TOKEN a token.
const api = `${process.env.METASTORE_SERVICE}/api/v1`;

async function send(method, path, body, headers = {}) {
  const answer = await fetch(api + path, {
    method,
    headers: {
      Authorization: `Bearer ${process.env.METASTORE_TOKEN}`,
      "Content-Type": "application/json",
      ...headers,
    },
    body: body && JSON.stringify(body),
  });
  const said = await answer.json();
  if (!answer.ok) throw Object.assign(new Error(said.detail), said);
  return { etag: answer.headers.get("ETag"), said };
}

const cars = "/datasets/physics/cars-js";
const patch = { "Content-Type": "application/merge-patch+json" };
const { etag } = await send("PUT", cars, { name: "cars-js", resources: [{ name: "cars", path: "cars.csv" }] });

// Change a part of it, if nobody else has changed it meanwhile.
await send("PATCH", cars, { title: "Cars" }, { ...patch, "If-Match": etag });
try {
  await send("PATCH", cars, { title: "Automobiles" }, { ...patch, "If-Match": etag });
} catch (problem) {
  console.log("a stale change:", problem.status, problem.kind);
}

console.log((await send("GET", cars)).said.title);
for (const change of (await send("GET", `${cars}/revisions`)).said) {
  console.log(change.author.name, change.message);
}

await send("POST", `${cars}/revert`, { to: etag.replaceAll('"', "") });
console.log("title" in (await send("GET", cars)).said);
