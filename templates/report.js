"use strict";

// Numbers precede other cells in both directions.
function compare(one, other, numeric, descending) {
  const [a, b] = [parseFloat(one), parseFloat(other)];
  if (numeric && isNaN(a) !== isNaN(b)) return isNaN(a) ? 1 : -1;
  const order = numeric && !isNaN(a) ? a - b : one.localeCompare(other, undefined, { numeric: true });
  return descending ? -order : order;
}

for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const descending = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", descending ? "descending" : "ascending");
      const numeric = head.classList.contains("figure");
      const text = (row) => row.cells[column].textContent.trim();
      const rows = [...table.tBodies[0].rows];
      rows.sort((one, other) => compare(text(one), text(other), numeric, descending));
      table.tBodies[0].append(...rows);
    });
  });
}

window.addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("details")) details.open = true;
});
