// What makes the pages pleasanter where scripts run; nothing needs it.
"use strict";

// Forms: what is larger than the service takes is said before it is sent.
for (const form of document.querySelectorAll("form[data-largest]")) {
  const inMB = (bytes) => `${(bytes / 1e6).toLocaleString([], { maximumFractionDigits: 1 })} MB`;
  form.addEventListener("submit", (event) => {
    const most = Number(form.dataset.largest);
    for (const text of form.querySelectorAll("textarea")) {
      const size = new Blob([text.value]).size;
      text.setCustomValidity(size > most ? `This text has ${inMB(size)}; at most ${inMB(most)} can be saved.` : "");
      text.addEventListener("input", () => text.setCustomValidity(""), { once: true });
      if (!text.reportValidity()) event.preventDefault();
    }
  });
}

// Times: the reader's own zone in front, UTC beside it.
for (const time of document.querySelectorAll("time[datetime]")) {
  const local = new Date(time.dateTime);
  if (!Number.isNaN(local.getTime())) {
    const here = local.toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
    time.title = time.textContent;
    time.textContent = `${here} (${time.dateTime.slice(11, 16)} UTC)`;
  }
}
