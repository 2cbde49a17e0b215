"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const list = byId("cases");
  const cases = list ? [...list.children] : [];
  const live = byId("live") ? JSON.parse(byId("live").textContent) : null;
  const PAGE = 24;
  let filter = "all", room = PAGE;

  const number = (value) => value.toLocaleString("en").replaceAll(",", "\u202f");
  const short = (value) => Number(value.toPrecision(4)).toString();
  const percent = (share) => {
    if (share === null) return "–";
    if (share === 0 || share === 1) return `${share * 100} %`;
    let text = (share * 100).toPrecision(3);
    if (Number(text) === 100) text = (share * 100).toFixed(6);
    return `${Number(text)} %`;
  };
  const ppm = (share) => (share === null ? "–" : `${number(Math.round(share * 1e6))} ppm`);
  const wilson = (count, total) => {
    if (!total) return [0, 1];
    const z = 1.959963984540054, share = count / total, scale = 1 + (z * z) / total;
    const middle = share + (z * z) / (2 * total);
    const reach = z * Math.sqrt((share * (1 - share)) / total + (z * z) / (4 * total * total));
    return [count === 0 ? 0 : (middle - reach) / scale, count === total ? 1 : (middle + reach) / scale];
  };
  const put = (id, text) => { const place = byId(id); if (place) place.textContent = text; };

  // The row in force: the last whose margin is not above the one asked for.
  const rowAt = (margin) => {
    const rows = live.sweep.rows;
    let low = 0, high = rows.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (rows[middle][0] <= margin) low = middle; else high = middle - 1;
    }
    return low;
  };
  const rate = (name, count, total) => {
    const share = total ? count / total : null;
    put(`${name}-percent`, percent(share));
    put(`${name}-count`, number(count));
    put(`${name}-ppm`, ppm(share));
    put(`${name}-interval`, wilson(count, total).map(percent).join(" to "));
  };
  const cell = (name, count, total) => {
    put(name, number(count));
    put(`${name}-share`, percent(total ? count / total : null));
  };
  const dot = (kind, x, y) => {
    const plot = byId(`plot-${kind}`), mark = byId(`dot-${kind}`);
    if (!plot || !mark) return;
    const { left, right, low, high, from, to, bottom, top } = Object.fromEntries(Object.entries(plot.dataset).map(([key, value]) => [key, Number(value)]));
    const inside = (value, least, most) => Math.min(1, Math.max(0, (value - least) / (most - least || 1)));
    mark.setAttribute("cx", from + inside(x, left, right) * (to - from));
    mark.setAttribute("cy", bottom - inside(y, low, high) * (bottom - top));
  };

  let inForce = live ? live.margin : 0;
  const move = (asked) => {
    const rows = live.sweep.rows;
    const row = rows[rowAt(asked)];
    const margin = live.sweep.exact || asked === live.margin ? asked : row[0];
    const [, escapes, falseCalls] = row;
    const { defects, good } = live;
    const { low, high } = live.histogram;
    inForce = margin;
    byId("slider").value = Math.round(((margin - low) / (high - low)) * byId("slider").max);
    put("margin", short(margin));
    byId("slider").setAttribute("aria-valuetext", `${short(margin)}: ${escapes} escapes, ${falseCalls} false calls`);
    byId("margin-line").style.left = `${Math.min(100, Math.max(0, ((margin - low) / (high - low)) * 100))}%`;
    rate("escape", escapes, defects);
    rate("overkill", falseCalls, good);
    cell("defect_called", defects - escapes, defects);
    cell("defect_passed", escapes, defects);
    cell("good_called", falseCalls, good);
    cell("good_passed", good - falseCalls, good);
    const caught = defects - escapes;
    if (defects && good) dot("roc", falseCalls / good, caught / defects);
    if (defects && caught + falseCalls) dot("pr", caught / defects, caught / (caught + falseCalls));
    for (const one of cases) {
      const defect = one.dataset.defect === "1", called = Number(one.dataset.score) > margin;
      const outcome = defect ? (called ? "found" : "escape") : called ? "false-call" : "passed";
      one.dataset.outcome = outcome;
      one.querySelector(".badge").textContent = outcome;
    }
    const rank = { escape: 0, "false-call": 1, found: 2, passed: 2 };
    const far = (one) => {
      const score = Number(one.dataset.score);
      return one.dataset.outcome === "escape" ? score : one.dataset.outcome === "false-call" ? -score : Math.abs(score - margin);
    };
    cases.sort((a, b) => rank[a.dataset.outcome] - rank[b.dataset.outcome] || far(a) - far(b));
    if (list) list.append(...cases);
    show();
  };

  const fits = (one, wanted) => {
    const outcome = one.dataset.outcome;
    return wanted === "all" || outcome === wanted || (wanted === "wrong" && (outcome === "escape" || outcome === "false-call"));
  };
  const show = () => {
    let shown = 0;
    for (const one of cases) {
      const wanted = fits(one, filter);
      one.hidden = !wanted || shown >= room;
      shown += wanted ? 1 : 0;
    }
    if (byId("none")) byId("none").hidden = shown > 0;
    const more = byId("more");
    if (more) {
      more.hidden = shown <= room;
      more.textContent = `Show ${shown - room} more`;
    }
    for (const button of document.querySelectorAll("button[data-filter]")) {
      button.setAttribute("aria-pressed", String(button.dataset.filter === filter));
      const count = button.querySelector(".count");
      if (count) count.textContent = cases.filter((one) => fits(one, button.dataset.filter)).length;
    }
  };
  for (const button of document.querySelectorAll("button[data-filter]")) {
    button.addEventListener("click", () => {
      const inTable = button.closest("table") !== null;
      filter = filter === button.dataset.filter && inTable ? "all" : button.dataset.filter;
      room = PAGE;
      show();
      if (inTable && filter !== "all" && byId("gallery")) byId("gallery").scrollIntoView({ block: "start" });
    });
  }

  if (byId("more")) byId("more").addEventListener("click", () => { room = cases.length; show(); });

  if (live) {
    const slider = byId("slider");
    const step = (by) => {
      const rows = live.sweep.rows, next = rows[rowAt(inForce) + by];
      if (next) move(next[0]);
    };
    slider.addEventListener("input", () => {
      const { low, high } = live.histogram, share = slider.value / slider.max;
      move(share === 1 ? high : low + (high - low) * share);
    });
    byId("down").addEventListener("click", () => step(-1));
    byId("up").addEventListener("click", () => step(1));
    for (const button of document.querySelectorAll("button.to")) button.addEventListener("click", () => move(Number(button.dataset.margin)));
  }
  show();

  const viewer = byId("viewer"), body = byId("viewer-body");
  const visible = () => cases.filter((one) => !one.hidden);
  let current = null;
  const open = (one) => {
    current = one;
    const copy = one.cloneNode(true);
    copy.removeAttribute("tabindex");
    body.replaceChildren(copy);
    body.className = list.classList.contains("overlay") ? "overlay" : "";
    if (!viewer.open) viewer.showModal();
  };
  const go = (by) => {
    const all = visible(), from = viewer.open ? current : document.activeElement.closest?.(".case");
    const at = all.indexOf(from);
    const next = all[at < 0 ? 0 : Math.min(all.length - 1, Math.max(0, at + by))];
    if (!next) return;
    if (viewer.open) open(next); else next.focus();
  };
  if (viewer) {
    list.addEventListener("click", (event) => { const one = event.target.closest(".case"); if (one) open(one); });
    viewer.addEventListener("close", () => current?.focus());
    viewer.addEventListener("click", (event) => { if (event.target === viewer) viewer.close(); });
    document.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, textarea, select")) return;
      const inGallery = viewer.open || document.activeElement.closest?.(".case");
      const key = event.key;
      if (key === "j" || key === "J" || (inGallery && (key === "ArrowRight" || key === "ArrowDown"))) go(1);
      else if (key === "k" || key === "K" || (inGallery && (key === "ArrowLeft" || key === "ArrowUp"))) go(-1);
      else if (key === "Enter" && !viewer.open && document.activeElement.matches?.(".case")) open(document.activeElement);
      else return;
      event.preventDefault();
    });
  }
  const overlay = byId("overlay");
  if (overlay) overlay.addEventListener("change", () => {
    list.classList.toggle("overlay", overlay.checked);
    if (body) body.className = overlay.checked ? "overlay" : "";
  });
})();
