// The page is complete without this script: it sorts and filters tables, shows values under the pointer,
// and opens for printing what a reader on paper needs of the folded parts.
"use strict";
(() => {
  const value = (row, i) => {
    const cell = row.cells[i];
    if (!cell) return "";
    const text = cell.dataset.value ?? cell.textContent.trim();
    // What was not measured comes after everything that was.
    if (text === "" || text === "-" || text === "n/a") return Number.NEGATIVE_INFINITY;
    const number = Number.parseFloat(text);
    return Number.isNaN(number) ? text : number;
  };
  for (const table of document.querySelectorAll("table[data-sortable]")) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, i) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") !== "descending";
        heads.forEach((h) => h.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const rows = [...table.tBodies[0].rows].sort((a, b) => {
          const [x, y] = [value(a, i), value(b, i)];
          const order = typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y));
          return down ? -order : order;
        });
        table.tBodies[0].append(...rows);
      });
    });
  }

  // Three choices above the operating points.
  const choices = { model: "filter", members: "filter-members", finding: "filter-finding" };
  const selects = Object.entries(choices).map(([key, id]) => [key, document.getElementById(id)]).filter(([, select]) => select);
  for (const [, select] of selects) {
    select.closest("p").hidden = false;
    select.addEventListener("change", () => {
      for (const row of document.querySelectorAll("#points tbody tr")) {
        row.hidden = selects.some(([key, s]) => s.value !== "" && row.dataset[key] !== s.value);
      }
    });
  }

  // A box above every other long table that keeps the rows with all words written in it.
  for (const table of document.querySelectorAll("table[data-sortable]:not(#points)")) {
    const rows = [...table.tBodies[0].rows];
    if (rows.length < 8) continue;
    const line = document.createElement("p");
    const label = document.createElement("label");
    const box = document.createElement("input");
    line.className = "filter";
    box.type = "search";
    box.addEventListener("input", () => {
      const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
      for (const row of rows) {
        const text = row.textContent.toLowerCase();
        row.hidden = !words.every((word) => text.includes(word));
      }
    });
    label.append("Only rows with ", box);
    line.append(label);
    table.closest(".scroll").before(line);
  }

  // ROC plots: the nearest point of any curve, read back from its path (see LEFT, RIGHT, TOP, BOTTOM in curves.rs).
  const [left, right, top, bottom] = [56, 320, 10, 244];
  const ns = "http://www.w3.org/2000/svg";
  for (const svg of document.querySelectorAll("svg.roc")) {
    const low = Math.log(Number(svg.dataset.low));
    const points = [...svg.querySelectorAll("path[data-name]")].flatMap((path) =>
      [...path.getAttribute("d").matchAll(/([\d.]+) ([\d.]+)/g)].map((m) => ({ name: path.dataset.name, x: +m[1], y: +m[2] })));
    const label = document.createElementNS(ns, "text");
    const dot = document.createElementNS(ns, "circle");
    label.setAttribute("class", "readout");
    dot.setAttribute("class", "readout");
    dot.setAttribute("r", "3");
    svg.append(dot, label);
    const percent = (share) => `${Number((100 * share).toPrecision(2))} %`;
    svg.addEventListener("pointermove", (event) => {
      const p = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
      let best = null;
      for (const q of points) {
        const d = (q.x - p.x) ** 2 + (q.y - p.y) ** 2;
        if (!best || d < best.d) best = { ...q, d };
      }
      const show = best && best.d < 900;
      svg.classList.toggle("reading", Boolean(show));
      if (!show) return;
      const fpr = Math.exp(low * (1 - (best.x - left) / (right - left)));
      const tpr = Math.exp(low * (1 - (bottom - best.y) / (bottom - top)));
      label.textContent = `${best.name}: ${percent(tpr)} at ${percent(fpr)}`;
      label.setAttribute("x", Math.min(best.x + 8, right - 150));
      label.setAttribute("y", Math.max(best.y - 8, top + 12));
      dot.setAttribute("cx", best.x);
      dot.setAttribute("cy", best.y);
    });
    svg.addEventListener("pointerleave", () => svg.classList.remove("reading"));
  }

  // A table that is wider than its place says so: not every screen shows that there is more to the right.
  const boxes = [...document.querySelectorAll(".scroll")];
  for (const box of boxes) {
    const line = document.createElement("p");
    line.className = "more";
    line.textContent = "More to the right: scroll sideways.";
    line.hidden = true;
    box.after(line);
  }
  const measure = () => {
    for (const box of boxes) box.nextElementSibling.hidden = box.scrollWidth <= box.clientWidth + 2;
  };
  addEventListener("resize", measure);
  document.addEventListener("toggle", measure, true);
  measure();

  addEventListener("beforeprint", () => {
    for (const folded of document.querySelectorAll(".notes details, details.private, .because, #edpb details")) folded.open = true;
  });
})();
