// What is live on the console's pages: a session's events, figures that are read anew, lists that are filtered.
// Everything that the server sends as a piece of page was escaped there; everything else becomes text.
"use strict";

const fragment = (html) => {
  const template = document.createElement("template");
  template.innerHTML = html;
  return template.content;
};

// Where the story ends; on a narrow screen the bill and the files stand below it.
const below = () => document.querySelector(".story").getBoundingClientRect().bottom - window.innerHeight;
const atEnd = () => below() <= 120;
const toEnd = () => window.scrollBy(0, below());

async function readAgain(ids) {
  const answer = await fetch(location.href, { headers: { accept: "text/html" } });
  if (!answer.ok || answer.redirected) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const id of ids) {
    const [old, fresh] = [document.getElementById(id), page.getElementById(id)];
    if (old && fresh && old.innerHTML !== fresh.innerHTML) old.replaceWith(document.importNode(fresh, true));
  }
}

function follow(story) {
  const source = new EventSource(story.dataset.stream);
  const follows = () => { const was = atEnd(); return () => was && toEnd(); };
  let reading = null;
  const again = () => { const stay = follows(); readAgain(["status", "waiting", "aside"]).then(stay); };
  const soon = () => { clearTimeout(reading); reading = setTimeout(again, 150); };
  source.addEventListener("entry", (message) => {
    const entry = JSON.parse(message.data);
    const stay = follows();
    document.getElementById(entry.id)?.remove();
    story.append(fragment(entry.html));
    if (entry.status || entry.asks || entry.kind === "span.model_request_end") soon();
    stay();
  });
  source.addEventListener("delta", (message) => {
    const { id, text } = JSON.parse(message.data);
    const stay = follows();
    let writing = document.getElementById(id);
    if (!writing) {
      writing = document.createElement("article");
      writing.id = id;
      writing.className = "entry speech agent";
      writing.append(Object.assign(document.createElement("div"), { className: "text" }));
      story.append(writing);
    }
    writing.lastElementChild.append(text);
    stay();
  });
  source.addEventListener("over", () => { source.close(); note(story); });
  source.onerror = () => {
    // A browser would open the same address again and get what is shown already: begin from the last entry instead.
    source.close();
    const last = story.lastElementChild?.id || "";
    story.dataset.stream = story.dataset.stream.replace(/after=[^&]*/, `after=${encodeURIComponent(last)}`);
    setTimeout(() => follow(story), 2000);
  };
}

function note(story) {
  story.append(Object.assign(document.createElement("p"), { className: "entry note", textContent: story.dataset.over }));
}

async function send(form, button) {
  const body = new URLSearchParams(new FormData(form, button));
  const answer = await fetch(form.action, { method: "POST", body, headers: { accept: "application/json" } });
  if (!answer.ok) {
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    alert(page.querySelector(".wrong")?.textContent || `${answer.status}`);
    return;
  }
  if ("clear" in form.dataset) form.querySelector("textarea").value = "";
  if ("answer" in form.dataset) form.remove();
}

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (!("quiet" in form.dataset)) return;
  event.preventDefault();
  send(form, event.submitter);
});

document.addEventListener("input", (event) => {
  const field = event.target;
  if (!field.dataset.filter) return;
  const wanted = field.value.toLowerCase();
  for (const row of document.querySelectorAll(`${field.dataset.filter} tbody tr`)) {
    row.hidden = !row.textContent.toLowerCase().includes(wanted);
  }
});

document.addEventListener("keydown", (event) => {
  const typing = /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName);
  if (event.key === "/" && !typing) {
    const search = document.querySelector("[data-filter], [data-search], #text");
    if (search) { event.preventDefault(); search.focus(); }
  }
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && event.target.form) event.target.form.requestSubmit();
  if (event.key === "Escape" && typing) event.target.blur();
});

for (const part of document.querySelectorAll("[data-refresh]")) {
  const again = setInterval(() => {
    const now = document.getElementById(part.id);
    if (!now || !("refresh" in now.dataset)) return clearInterval(again);
    if (!document.hidden) readAgain([part.id]);
  }, Number(part.dataset.refresh) * 1000);
}

// On a narrow screen the list of pages is longer than the screen is wide.
document.querySelector("body > header [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });

const story = document.querySelector("[data-stream]");
if (story) { follow(story); toEnd(); }
