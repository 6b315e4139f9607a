// Draws /openapi.json. No library and no outside address; text only ever enters the page as text.
"use strict";

const METHODS = ["get", "post", "put", "patch", "delete"];

function element(name, attributes, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) made.setAttribute(key, value);
  made.append(...children.filter((child) => child !== undefined && child !== null));
  return made;
}

// What stands between backticks is code.
function prose(text) {
  return (text || "").split("`").map((part, number) => (number % 2 ? element("code", {}, part) : part));
}

function resolve(api, schema) {
  if (!schema || !schema.$ref) return schema || {};
  return api.components.schemas[schema.$ref.split("/").pop()] || {};
}

function typeName(api, schema) {
  if (!schema) return "";
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.anyOf) return schema.anyOf.map((one) => typeName(api, one)).join(" | ");
  if (schema.enum) return schema.enum.join(" | ");
  if (schema.type === "array") return typeName(api, schema.items) + "[]";
  return schema.format ? `${schema.type} (${schema.format})` : schema.type || "any";
}

function fields(api, schema) {
  const whole = resolve(api, schema);
  const required = new Set(whole.required || []);
  const rows = Object.entries(whole.properties || {}).map(([name, field]) =>
    element("tr", {},
      element("td", {}, element("code", {}, name), required.has(name) ? " *" : ""),
      element("td", {}, typeName(api, field)),
      element("td", {}, ...prose(field.description))));
  return rows.length ? element("table", {}, element("tbody", {}, ...rows)) : null;
}

function json(value) {
  return element("pre", {}, typeof value === "string" ? value : JSON.stringify(value, null, 2));
}

function content(api, entries) {
  const parts = [];
  for (const [media, entry] of Object.entries(entries || {})) {
    parts.push(element("p", {}, element("code", {}, media), " ", typeName(api, entry.schema)));
    const shape = fields(api, entry.schema);
    if (shape && media !== "application/problem+json") parts.push(shape);
    if (entry.example !== undefined) parts.push(json(entry.example));
    for (const [name, example] of Object.entries(entry.examples || {})) {
      parts.push(element("p", {}, element("a", { href: `/docs/errors#${name}` }, element("code", {}, name))));
      parts.push(json(example.value));
    }
  }
  return parts;
}

function parameters(operation) {
  if (!operation.parameters || !operation.parameters.length) return [];
  const rows = operation.parameters.map((one) =>
    element("tr", {},
      element("td", {}, element("code", {}, one.name), one.required ? " *" : ""),
      element("td", {}, one.in),
      element("td", {}, ...prose(one.description))));
  return [element("h4", {}, "Parameters"), element("table", {}, element("tbody", {}, ...rows))];
}

function body(api, operation) {
  if (!operation.requestBody) return [];
  return [element("h4", {}, "Body"), ...content(api, operation.requestBody.content)];
}

function answers(api, operation) {
  return Object.entries(operation.responses).map(([status, answer]) =>
    element("details", {},
      element("summary", {}, element("code", {}, status), " ", ...prose(answer.description)),
      ...content(api, answer.content)));
}

function draw(api) {
  const main = document.getElementById("operations");
  const contents = element("ul", {});
  document.getElementById("about").replaceChildren(...prose(api.info.description.trim()));
  const groups = new Map();
  for (const [path, item] of Object.entries(api.paths))
    for (const method of METHODS.filter((name) => item[name])) {
      const operation = item[method];
      const group = (operation.tags || ["other"])[0];
      if (!groups.has(group)) groups.set(group, []);
      groups.get(group).push({ method, path, operation });
    }
  for (const [group, entries] of groups) {
    main.append(element("h2", {}, group));
    for (const { method, path, operation } of entries) {
      const id = operation.operationId;
      contents.append(element("li", {}, element("a", { href: `#${id}` }, `${method.toUpperCase()} ${path}`)));
      main.append(element("details", { id },
        element("summary", {},
          element("span", { class: "method" }, method.toUpperCase()), element("code", {}, path),
          element("span", { class: "title" }, ...prose(operation.summary))),
        element("p", {}, ...prose(operation.description)),
        ...parameters(operation), ...body(api, operation),
        element("h4", {}, "Answers"), ...answers(api, operation)));
    }
  }
  document.getElementById("contents").append(contents);
  openTarget();
}

function openTarget() {
  const target = location.hash && document.getElementById(location.hash.slice(1));
  if (target instanceof HTMLDetailsElement) target.open = true;
}

addEventListener("hashchange", openTarget);
fetch("/openapi.json")
  .then((answer) => answer.json())
  .then(draw)
  .catch((error) => { document.getElementById("about").textContent = `The description cannot be read: ${error}`; });
