// The editor of a dataset: checks while somebody types, and keeps what is not saved in the browser. The page works without it.
"use strict";

for (const form of document.querySelectorAll("form[data-kept]")) {
  const own = ["csrf_token", "sign_in_token"]; // of this page, and no input
  const entries = () => [...new FormData(form)].filter(([name, value]) => typeof value === "string" && !own.includes(name));
  const after = (wait, action) => {
    let waiting = 0;
    return () => { clearTimeout(waiting); waiting = setTimeout(action, wait); };
  };

  // Keeps each form under its page and revision. A browser without storage, or with a full one, keeps nothing.
  const prefix = `metastore-unsaved ${form.dataset.kept} `;
  const revision = form.elements.expected ? form.elements.expected.value : "";
  const drawn = JSON.stringify(entries());
  const keep = (sent) => {
    try {
      const typed = JSON.stringify(entries());
      if (typed === drawn && "fresh" in form.dataset && !sent) localStorage.removeItem(prefix + revision);
      else localStorage.setItem(prefix + revision, JSON.stringify({ at: Date.now(), sent, typed }));
    } catch { /* nothing is kept */ }
  };
  const kept = () => {
    const found = [];
    try {
      for (const key of Object.keys(localStorage).filter((each) => each.startsWith(prefix))) {
        const work = { key, ...JSON.parse(localStorage.getItem(key)) };
        const isStored = work.sent && key !== prefix + revision; // the dataset went on since
        if (isStored || work.typed === drawn || Date.now() - work.at > 30 * 86400e3) localStorage.removeItem(key);
        else found.push(work);
      }
    } catch { /* nothing is kept */ }
    return found.sort((a, b) => b.at - a.at);
  };
  const goOn = (work) => {
    const again = Object.assign(document.createElement("form"), { method: "post", action: form.action, enctype: "multipart/form-data", hidden: true });
    const typed = JSON.parse(work.typed);
    const isForm = typed.some(([name, value]) => name === "as" && value === "form");
    const token = ["csrf_token", form.elements.csrf_token.value];
    for (const [name, value] of [...typed, token, ["step", isForm ? "form" : "json"]]) {
      const part = Object.assign(document.createElement("textarea"), { name });
      part.value = value;
      again.append(part);
    }
    document.body.append(again);
    again.submit();
  };
  const offer = (work) => {
    const box = Object.assign(document.createElement("section"), { className: "notice" });
    box.setAttribute("role", "status");
    const said = document.createElement("p");
    const when = new Date(work.at).toLocaleString(locale, { dateStyle: "medium", timeStyle: "short" });
    said.textContent = work.key === prefix + revision ? gettext("You have unsaved work from %(when)s.", { when })
      : gettext("You have unsaved work from %(when)s, begun at an earlier revision.", { when });
    const buttons = Object.assign(document.createElement("p"), { className: "bar" });
    const button = (text, className, action) => {
      const made = Object.assign(document.createElement("button"), { type: "button", className, textContent: text });
      made.addEventListener("click", action);
      buttons.append(made);
    };
    button(gettext("Continue editing"), "small", () => goOn(work));
    button(gettext("Discard it"), "small outline danger", () => { localStorage.removeItem(work.key); box.remove(); });
    box.append(said, buttons);
    form.before(box);
  };
  if ("fresh" in form.dataset) kept().slice(0, 1).forEach(offer);
  else keep(false);
  form.addEventListener("input", after(400, () => keep(false)));
  form.addEventListener("submit", (event) => {
    const step = event.submitter && event.submitter.name === "step" ? event.submitter.value : "";
    keep(["store", "create"].includes(step));
  });

  // Shows what the check finds in what is typed, a moment after the last key.
  const shown = document.getElementById("check");
  let asked = null;
  const check = async () => {
    if (asked) asked.abort();
    asked = new AbortController();
    try {
      const answer = await fetch(form.dataset.check, { method: "POST", body: new FormData(form), signal: asked.signal });
      if (answer.ok) shown.innerHTML = await answer.text();
    } catch { /* a later check may answer */ }
  };
  form.addEventListener("input", after(700, check));
}
