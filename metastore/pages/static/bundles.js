// Bundles: makes whole rows clickable, checks devices as they are typed, and copies lists. The pages work without it.
"use strict";

for (const row of document.querySelectorAll("tr[data-href]")) {
  row.addEventListener("click", (event) => {
    const chosen = document.getSelection();
    if (!event.target.closest("a") && (!chosen || chosen.isCollapsed)) location.href = row.dataset.href;
  });
}

const list = document.querySelector("textarea[data-device]");
if (list) {
  const said = document.getElementById("devices-said");
  const device = new RegExp(`^(?:${list.dataset.device})$`);
  const usual = new RegExp(`^(?:${list.dataset.usual})$`);
  const headings = new Set(list.dataset.headings.split(" "));
  let waiting = 0;
  const listed = (words) => words.slice(0, 20).join(", ") + (words.length > 20 ? ` ${gettext("and %(number)s more", { number: words.length - 20 })}` : "");
  const wordsOf = (cell) => cell.split(/\s+/).map((word) => word.replace(/^["'“”„‘’]+|["'“”„‘’]+$/g, "")).filter(Boolean);
  const isUsual = (words) => words.every((word) => usual.test(word));
  const look = () => {
    const seen = new Set(), doubles = new Set(), beside = new Set();
    for (const line of list.value.split("\n")) {
      const cells = line.split(/[\t,;]/).map(wordsOf).filter((words) => words.length);
      const isTable = line.includes("\t") || (cells.length && isUsual(cells[0]));
      cells.forEach((words, index) => {
        if (index && isTable && !isUsual(words)) beside.add(words.join(" "));
        else for (const word of words) (seen.has(word) ? doubles : seen).add(word);
      });
    }
    const found = [[ngettext("%(number)s device", "%(number)s devices", seen.size, { number: seen.size.toLocaleString(locale) }), ""]];
    const notes = [
      [gettext("Looks like a column heading; remove it unless it is a device"), (word) => headings.has(word.toLowerCase())],
      [gettext("Listed more than once, counted once"), (word) => doubles.has(word)],
      [gettext("Cannot be a device (3 to 255 characters, no quotation marks, < > \\ or `)"), (word) => !device.test(word)],
      [gettext("Kept, although not in a usual form such as E:TOR860 or dip/acc/x:y"),
        (word) => device.test(word) && !usual.test(word) && !headings.has(word.toLowerCase())],
    ];
    if (beside.size) found.push([gettext("Left out because it is in another column; if it is a device, put it on its own line"), listed([...beside])]);
    for (const [note, is] of notes) {
      const words = [...seen].filter(is);
      if (words.length) found.push([note, listed(words)]);
    }
    said.replaceChildren(...found.map(([note, words]) => {
      const line = document.createElement("p");
      line.textContent = words ? `${note}: ` : note;
      if (words) line.append(Object.assign(document.createElement("code"), { textContent: words }));
      return line;
    }));
  };
  list.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(look, 150); });
  look();
}

const text = document.getElementById("as-text");
if (text) {
  const button = Object.assign(document.createElement("button"), { type: "button", className: "secondary small", textContent: gettext("Copy") });
  button.addEventListener("click", () => {
    text.select();
    // Browsers offer the clipboard API over HTTPS only.
    const copied = navigator.clipboard ? navigator.clipboard.writeText(text.value) : Promise.resolve(document.execCommand("copy"));
    copied.then(() => { button.textContent = gettext("Copied"); });
  });
  text.after(button);
}
