// Conveniences for browsers that run scripts. The pages work without it.
"use strict";

// The strings that scripts add are translated as those of the pages are. `words.….js` has them, unless they stay English.
const words = globalThis.metastoreWords || {};
const filled = (text, values) => text.replace(/%\((\w+)\)s/g, (_match, name) => values[name]);
const gettext = (text, values = {}) => filled(words[text] || text, values);
const ngettext = (one, many, number, values = {}) => gettext(number === 1 ? one : many, values);
// Numbers and times in the language of the page; on an English one, as the reader's browser writes them.
const locale = document.documentElement.lang === "en" ? [] : document.documentElement.lang;

// Forms: warns of a text that is larger than the service accepts before it is sent.
for (const form of document.querySelectorAll("form[data-largest]")) {
  const inMB = (bytes) => `${(bytes / 1e6).toLocaleString(locale, { maximumFractionDigits: 1 })} MB`;
  form.addEventListener("submit", (event) => {
    const most = Number(form.dataset.largest);
    for (const text of form.querySelectorAll("textarea")) {
      const size = new Blob([text.value]).size;
      text.setCustomValidity(size > most ? gettext("This text is %(size)s long; the limit is %(most)s.", { size: inMB(size), most: inMB(most) }) : "");
      text.addEventListener("input", () => text.setCustomValidity(""), { once: true });
      if (!text.reportValidity()) event.preventDefault();
    }
  });
}

// Editors: line numbers beside the text, and links such as "Line 12" that lead to that line. The page reserves the space
// for the numbers: a text that moves while somebody types loses the cursor.
for (const editor of document.querySelectorAll(".editor")) {
  const numbers = editor.querySelector(".numbers"), text = editor.querySelector("textarea");
  const links = [...document.querySelectorAll("a[data-line]")];
  const wrong = new Set(links.map((link) => Number(link.dataset.line)));
  let drawn = 0;
  const draw = () => {
    const count = text.value.split("\n").length;
    if (count !== drawn) {
      drawn = count;
      numbers.replaceChildren(...Array.from({ length: count }, (_, index) => {
        const line = document.createElement("div");
        line.textContent = index + 1;
        if (wrong.has(index + 1)) line.className = "wrong-line";
        return line;
      }));
    }
    numbers.scrollTop = text.scrollTop;
  };
  const goTo = (line, column) => {
    const lines = text.value.split("\n");
    const start = lines.slice(0, line - 1).reduce((sum, each) => sum + each.length + 1, 0);
    const end = start + (lines[line - 1] || "").length;
    text.focus();
    text.setSelectionRange(Math.min(start + column - 1, end), end);
    const height = parseFloat(getComputedStyle(text).lineHeight);
    text.scrollTop = Math.max(0, (line - 1) * height - text.clientHeight / 2);
    text.scrollLeft = 0;
    draw();
  };
  text.addEventListener("scroll", () => { numbers.scrollTop = text.scrollTop; });
  text.addEventListener("input", draw);
  for (const link of links) {
    link.addEventListener("click", (event) => {
      event.preventDefault();
      goTo(Number(link.dataset.line), Number(link.dataset.column || 1));
    });
  }
  draw();
}

// Times: the reader's own zone in front of UTC. Where the text says how long ago, the exact time is in its title.
for (const time of document.querySelectorAll("time[datetime]")) {
  const local = new Date(time.dateTime);
  if (!Number.isNaN(local.getTime())) {
    if (!time.title && !local.getTimezoneOffset()) continue; // the reader's zone is UTC
    const here = `${local.toLocaleString(locale, { dateStyle: "medium", timeStyle: "short" })} (${time.dateTime.slice(11, 16)} UTC)`;
    if (time.title) time.title = here;
    else [time.title, time.textContent] = [time.textContent, here];
  }
}

// Another language: the page is loaded again, which would lose what was typed.
const isTyped = (field) => field.type !== "hidden" && (field.type === "checkbox" || field.type === "radio" ? field.checked !== field.defaultChecked
  : field.defaultValue !== undefined && field.value !== field.defaultValue);
for (const link of document.querySelectorAll("footer a[hreflang]")) {
  link.addEventListener("click", (event) => {
    const typed = [...document.querySelectorAll('form[method="post"]')].some((form) => [...form.elements].some(isTyped));
    if (typed && !confirm(gettext("What you typed is not saved. Change the language anyway?"))) event.preventDefault();
  });
}

// A copy button beside everything that people are likely to copy.
for (const part of document.querySelectorAll("[data-copy], pre.copy")) {
  const text = part.dataset.copy || part.textContent;
  const button = Object.assign(document.createElement("button"), { type: "button", className: "copier", textContent: gettext("Copy") });
  const short = text.length > 40 ? `${text.slice(0, 40)}…` : text;
  button.setAttribute("aria-label", gettext("Copy %(text)s", { text: short }));
  button.addEventListener("click", () => {
    const done = () => {
      button.textContent = gettext("Copied");
      setTimeout(() => { button.textContent = gettext("Copy"); }, 2000);
    };
    if (navigator.clipboard) navigator.clipboard.writeText(text).then(done, () => {});
    else { // Browsers offer the clipboard API over HTTPS only.
      const box = Object.assign(document.createElement("textarea"), { value: text, className: "hidden" });
      document.body.append(box);
      box.select();
      if (document.execCommand("copy")) done();
      box.remove();
    }
  });
  part.after(button);
}

// Unsaved work that the editor keeps (editing.js): what was saved is no longer needed, nor is any after signing out.
const forget = (is) => {
  try {
    for (const key of Object.keys(localStorage)) {
      if (key.startsWith("metastore-unsaved ") && is(JSON.parse(localStorage.getItem(key)))) localStorage.removeItem(key);
    }
  } catch { /* a browser without storage keeps nothing */ }
};
if (document.querySelector("[data-saved]")) forget((work) => work.sent);
for (const form of document.querySelectorAll("form[data-leaves]")) form.addEventListener("submit", () => forget(() => true));
