// What makes the pages pleasanter where scripts run; nothing needs it.
"use strict";

// Times: the reader's own zone in front, UTC beside it.
for (const time of document.querySelectorAll("time[datetime]")) {
  const local = new Date(time.dateTime);
  if (!Number.isNaN(local.getTime())) {
    const here = local.toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
    time.title = time.textContent;
    time.textContent = `${here} (${time.dateTime.slice(11, 16)} UTC)`;
  }
}
