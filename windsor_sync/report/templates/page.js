// Airflow shows these pages in a frame. They take its theme, open Airflow's own pages outside the frame, and send the
// backfill form to Airflow's public API with the rights of whoever is signed in.
"use strict";

const framed = window.parent !== window;

function takeTheme(outer, own) {
  own.classList.toggle("dark", outer.classList.contains("dark"));
  own.classList.toggle("light", outer.classList.contains("light"));
}

if (framed) {
  const outer = window.parent.document.documentElement;
  takeTheme(outer, document.documentElement);
  new MutationObserver(() => takeTheme(outer, document.documentElement)).observe(outer, { attributeFilter: ["class"] });
}

// A task's link *Audience* opens this page in Airflow's frame, and names the audience behind the `#`.
function openNamed() {
  const outer = window.parent, named = /^#audience=([\w.~%-]+)$/.exec(outer.location.hash);
  if (!framed || !named) return;
  outer.history.replaceState(outer.history.state, "", outer.location.pathname + outer.location.search);
  location.replace(`${document.documentElement.dataset.airflowRoot}/windsor/audiences/${named[1]}`);
}

function openInAirflow(event) {
  const link = event.target.closest("a[data-airflow]");
  if (!link || !framed) return;
  event.preventDefault();
  const outside = window.parent.document.createElement("a");
  outside.href = link.href;
  outside.target = link.target;
  outside.rel = link.rel;
  window.parent.document.body.append(outside);
  outside.click();
  outside.remove();
}

function confOf(form) {
  const conf = { audiences: [form.audiences.value], mode: form.mode.value, dry_run: form.dry_run.checked };
  if (form.only.value) conf.only = form.only.value;
  if (form.limit.value) conf.limit = Number(form.limit.value);
  if (form.as_of.value) conf.as_of = new Date(form.as_of.value).toISOString();
  if (form.reason.value) conf.reason = form.reason.value;
  return conf;
}

async function start(event) {
  event.preventDefault();
  const form = event.target, conf = confOf(form), answer = document.getElementById("answer");
  answer.textContent = "Checking…";
  const problem = (await checked(form, conf)) || (conf.dry_run ? "" : await another(form, conf));
  if (problem) {
    answer.textContent = `Not started: ${problem}`;
    return;
  }
  const run = await begin(form, { logical_date: null, conf }, answer);
  if (run && conf.dry_run) await showPlan(form, run);
  if (run) await listBackfills();
}

// What cannot be had is told before Airflow is asked.
async function checked(form, conf) {
  const body = new URLSearchParams({ audience: conf.audiences[0], as_of: conf.as_of || "" });
  const response = await fetch(form.dataset.check, { method: "POST", body }).catch(() => null);
  return response && response.ok ? "" : response ? await response.text() : "the page did not answer.";
}

async function another(form, conf) {
  const going = await ask(`${form.dataset.start}?state=running&state=queued&limit=100`);
  const same = (going?.dag_runs || []).some((run) => !run.conf?.dry_run && run.conf?.audiences?.includes(conf.audiences[0]));
  return same ? "a backfill of this audience has not ended. It is in the list below: wait for it, or cancel it." : "";
}

async function ask(address) {
  const response = await fetch(address).catch(() => null);
  return response && response.ok ? await response.json() : null;
}

const PLAN_WAITS_S = 180;
const PLAN_ROWS = ["members", "entered", "exited", "updated", "moved", "withheld", "later", "to_send", "messages"];
const PLAN_WORDS = { later: "left for the next sync", to_send: "changes that go out", messages: "messages" };

async function showPlan(form, run) {
  const place = document.getElementById("plan"), at = `${form.dataset.start}/${encodeURIComponent(run)}`;
  place.textContent = "Waiting for the plan…";
  for (let waited = 0; waited < PLAN_WAITS_S; waited += 2) {
    const found = await ask(`${at}/taskInstances/plan/xcomEntries/return_value?deserialize=true`);
    if (found) return place.replaceChildren(...plansOf(found.value));
    const state = (await ask(at))?.state;
    if (state === "failed") break;
    await new Promise((done) => setTimeout(done, 2000));
  }
  place.textContent = "The run made no plan. Its page in Airflow says why.";
}

function plansOf(value) {
  const plans = typeof value === "string" ? JSON.parse(value) : value;
  return plans.map((plan) => {
    const table = document.createElement("table");
    table.className = "books";
    for (const name of PLAN_ROWS.filter((each) => plan[each])) {
      const row = table.insertRow();
      row.insertCell().textContent = PLAN_WORDS[name] || name;
      const number = row.insertCell();
      number.className = "number";
      number.textContent = plan[name].toLocaleString("en");
    }
    return table;
  });
}

const BACKFILLS_SHOWN = 10;
const LOOKS_AGAIN_MS = 5000;
let nextLook;

// The list is loaded again while a backfill goes on. It is not redrawn while a button in it has the focus.
async function listBackfills() {
  const section = document.getElementById("backfills");
  if (!section) return;
  clearTimeout(nextLook);
  const found = await ask(`${section.dataset.runs}?order_by=-run_after&limit=100`);
  const runs = (found?.dag_runs || []).filter((run) => run.conf?.audiences?.includes(section.dataset.audience));
  const sent = (await ask(section.dataset.sent)) || {};
  const rows = await Promise.all(runs.slice(0, BACKFILLS_SHOWN).map((run) => backfillRow(section, run, sent[run.dag_run_id])));
  const body = section.querySelector("tbody");
  if (!body.contains(document.activeElement)) body.replaceChildren(...rows);
  section.hidden = !rows.length;
  if (runs.some(goesOn)) nextLook = setTimeout(listBackfills, LOOKS_AGAIN_MS);
}

async function backfillRow(section, run, sent) {
  const at = `${section.dataset.runs}/${encodeURIComponent(run.dag_run_id)}`;
  const tasks = (await ask(`${at}/taskInstances?limit=100`))?.task_instances || [];
  const row = document.createElement("tr");
  const link = linkTo(`${section.dataset.dag}/runs/${encodeURIComponent(run.dag_run_id)}`, new Date(run.run_after).toLocaleString("sv-SE").slice(0, 16));
  link.dataset.airflow = "";
  const what = [run.conf.mode, run.conf.only, run.conf.limit && `at most ${run.conf.limit}`, run.conf.reason];
  const texts = [link, what.filter(Boolean).join(", "), run.triggering_user_name || "–", backfillState(run, tasks, sent)];
  for (const text of texts) row.insertCell().append(text);
  if (sent) row.lastElementChild.append(": ", linkTo(sent.href, sent.text));
  const cell = row.insertCell();
  if (goesOn(run)) cell.append(cancelButton(at));
  return row;
}

function goesOn(run) {
  return run.state === "running" || run.state === "queued";
}

function linkTo(href, text) {
  const link = document.createElement("a");
  link.href = href;
  link.textContent = text;
  return link;
}

function backfillState(run, tasks, sent) {
  const stateOf = (end) => tasks.filter((task) => task.task_id.endsWith(end)).map((task) => task.state);
  const sends = stateOf("deliver"), asked = stateOf("approve")[0];
  if (run.conf.dry_run && run.state === "success") return "plan only";
  if (run.state === "success" && (sent || sends.includes("success"))) return "sent";
  if (run.state === "success") return asked === "skipped" ? "nothing to send" : "refused: nothing was sent";
  if (run.state === "failed") return sent || sends.some((state) => state === "failed") ? "failed or cancelled while sending" : "failed, cancelled or not answered: nothing was sent";
  if (["awaiting_input", "deferred"].includes(asked)) return "waits for approval";
  return sends.some((state) => state === "running") ? "sending" : "planning";
}

function cancelButton(at) {
  const button = document.createElement("button");
  button.textContent = "Cancel";
  button.title = "Changes that were sent stay in Windsor. The run on the audience's page says how many.";
  button.addEventListener("click", async () => {
    button.disabled = true;
    button.textContent = "Cancelling…";
    const body = JSON.stringify({ state: "failed" });
    await fetch(at, { method: "PATCH", headers: { "Content-Type": "application/json" }, body });
    await listBackfills();
    nextLook = setTimeout(listBackfills, LOOKS_AGAIN_MS); // by then the messages on their way are answered and counted
  });
  return button;
}

async function begin(form, body, answer) {
  const button = form.querySelector("button");
  button.disabled = true;
  answer.textContent = "Asking Airflow…";
  try {
    const response = await fetch(form.dataset.start, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
    });
    const said = await response.json();
    if (response.ok) {
      const link = linkTo(`${form.dataset.dag}/runs/${encodeURIComponent(said.dag_run_id)}`, "Started. See the run in Airflow");
      link.dataset.airflow = "";
      answer.replaceChildren(link);
      button.disabled = false;
      return said.dag_run_id;
    }
    answer.textContent = `Not started: ${typeof said.detail === "string" ? said.detail : JSON.stringify(said.detail)}`;
  } catch {
    answer.textContent = "Not started: Airflow did not answer.";
  }
  button.disabled = false;
  return null;
}

// Moments stand in UTC where this script does not run; a reader sees them by their own clock.
const MOMENT = /(\d{4}-\d\d-\d\d) (\d\d:\d\d) UTC/g;

function localMoment(_, day, time) {
  const when = new Date(`${day}T${time}Z`);
  const zone = new Intl.DateTimeFormat("en", { timeZoneName: "short" }).formatToParts(when).find((part) => part.type === "timeZoneName");
  return `${new Intl.DateTimeFormat("sv-SE", { dateStyle: "short", timeStyle: "short" }).format(when)} ${zone.value}`;
}

function tellTime(root) {
  const texts = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) texts.currentNode.data = texts.currentNode.data.replace(MOMENT, localMoment);
  for (const element of root.querySelectorAll("time[title]")) element.title = element.title.replace(MOMENT, localMoment);
}

// A chart's numbers, for pointer, finger and keyboard alike.
function tips(figure) {
  const svg = figure.querySelector("svg[tabindex]"), tip = figure.querySelector(".tip");
  if (!svg) return;
  const marks = [...svg.querySelectorAll("rect")].filter((mark) => mark.querySelector("title"));
  let place = -1;
  const choose = (index) => {
    marks[place]?.classList.remove("chosen");
    place = Math.min(Math.max(index, 0), marks.length - 1);
    marks[place].classList.add("chosen");
    tip.textContent = marks[place].querySelector("title").textContent;
  };
  svg.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1, Home: -marks.length, End: marks.length }[event.key];
    if (!step) return;
    event.preventDefault();
    choose(place < 0 && step < 0 ? marks.length - 1 : place + step);
  });
  svg.addEventListener("pointerdown", (event) => marks.includes(event.target) && choose(marks.indexOf(event.target)));
  svg.addEventListener("pointermove", (event) => marks.includes(event.target) && choose(marks.indexOf(event.target)));
}

async function startDag(event) {
  const form = event.target.closest("form[data-start]");
  if (!form || form.id === "backfill") return;
  event.preventDefault();
  const conf = form.dataset.audience ? { audiences: [form.dataset.audience] } : {};
  await begin(form, { logical_date: null, conf }, form.querySelector("output"));
}

// *Show* puts the user into its place in the list; the server has written down who asked.
async function showInPlace(event) {
  const form = event.target.closest("form[data-show]");
  if (!form) return;
  event.preventDefault();
  const response = await fetch(form.action, { method: "POST" });
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  const cell = page.querySelector(`#${form.dataset.show} :is(.user, .key)`);
  form.replaceWith(cell ? document.importNode(cell, true) : "not to be seen");
}

// A run that goes on: the page is asked again every few seconds, and only what changed is put in.
function refresh() {
  const bar = document.querySelector("[data-refresh]");
  if (!bar) return;
  setTimeout(async () => {
    const response = await fetch(location.href).catch(() => null);
    if (response && response.ok) {
      const page = new DOMParser().parseFromString(await response.text(), "text/html");
      const next = page.querySelector("[data-refresh]");
      if (!next) return location.reload();
      bar.replaceWith(document.importNode(next, true));
    }
    refresh();
  }, bar.dataset.refresh * 1000);
}

// One click leads to Airflow's question while it is open there, and else to the form of the run's own page.
async function findQuestions(airflow) {
  const places = document.querySelectorAll("[data-question]");
  if (!places.length) return;
  const response = await fetch(`${airflow}/api/v2/dags/~/dagRuns/~/hitlDetails?response_received=false&limit=100`).catch(() => null);
  if (!response || !response.ok) return;
  const open = (await response.json()).hitl_details.map((each) => each.task_instance);
  for (const place of places) {
    const task = open.find((each) => each.rendered_map_index === place.dataset.question && each.task_id.endsWith(".approve"));
    if (!task) continue;
    const parts = [task.dag_id, task.dag_run_id, task.task_id].map(encodeURIComponent);
    place.href = `${airflow}/dags/${parts[0]}/runs/${parts[1]}/tasks/${parts[2]}/mapped/${task.map_index}/required_actions`;
    place.dataset.airflow = "";
    place.hidden = false;
  }
}

document.addEventListener("DOMContentLoaded", () => {
  document.addEventListener("click", openInAirflow);
  document.addEventListener("submit", startDag);
  document.addEventListener("submit", showInPlace);
  openNamed();
  tellTime(document.body);
  document.querySelectorAll("figure.chart").forEach(tips);
  refresh();
  listBackfills();
  findQuestions(document.documentElement.dataset.airflowRoot);
  document.getElementById("backfill")?.addEventListener("submit", start);
});
