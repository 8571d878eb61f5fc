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

function openInAirflow(event) {
  const link = event.target.closest("a[data-airflow]");
  if (!link || !framed) return;
  event.preventDefault();
  const outside = window.parent.document.createElement("a");
  outside.href = link.href;
  window.parent.document.body.append(outside);
  outside.click();
  outside.remove();
}

function confOf(form) {
  const conf = { audiences: [form.audiences.value], mode: form.mode.value, dry_run: form.dry_run.checked };
  if (form.only.value) conf.only = form.only.value;
  if (form.limit.value) conf.limit = Number(form.limit.value);
  if (form.as_of.value) conf.as_of = new Date(`${form.as_of.value}Z`).toISOString();
  if (form.reason.value) conf.reason = form.reason.value;
  return conf;
}

async function start(event) {
  event.preventDefault();
  const form = event.target, answer = document.getElementById("answer"), button = form.querySelector("button");
  button.disabled = true;
  answer.textContent = "Asking Airflow…";
  try {
    const response = await fetch(form.dataset.post, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ logical_date: null, conf: confOf(form) }),
    });
    const said = await response.json();
    if (response.ok) {
      const link = document.createElement("a");
      link.href = `${form.dataset.dag}/runs/${encodeURIComponent(said.dag_run_id)}`;
      link.dataset.airflow = "";
      link.textContent = "Started. See the run in Airflow";
      answer.replaceChildren(link);
      return;
    }
    answer.textContent = `Not started: ${typeof said.detail === "string" ? said.detail : JSON.stringify(said.detail)}`;
  } catch {
    answer.textContent = "Not started: Airflow did not answer.";
  }
  button.disabled = false;
}

document.addEventListener("DOMContentLoaded", () => {
  document.addEventListener("click", openInAirflow);
  document.getElementById("backfill")?.addEventListener("submit", start);
});
