"use strict";
// Makes the headings of every sortable table buttons: up, down, then the order of the page again.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  const rows = [...body.rows];
  const apart = new Intl.Collator("en", { numeric: true });
  heads.forEach((head, place) => {
    const numeric = head.classList.contains("number");
    const first = numeric ? "descending" : "ascending";
    const second = numeric ? "ascending" : "descending";
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const before = head.getAttribute("aria-sort");
      const now = before === null ? first : before === first ? second : null;
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      if (now !== null) head.setAttribute("aria-sort", now);
      const sign = now === "descending" ? -1 : 1;
      const key = (row) => {
        const cell = row.cells[place];
        return numeric ? Number(cell.dataset.number ?? NaN) : cell.textContent;
      };
      // What has no number stands last, whichever way the others are sorted.
      const compare = (one, other) => {
        const a = key(one), b = key(other);
        if (!numeric) return sign * apart.compare(a, b);
        if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) - Number.isNaN(b);
        return sign * (a - b);
      };
      body.append(...(now === null ? rows : [...rows].sort(compare)));
    });
  });
}
