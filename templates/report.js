"use strict";

// Figures before words, and what has no figure last, whichever way it is sorted.
function compared(one, other, downwards) {
  const [a, b] = [parseFloat(one), parseFloat(other)];
  if (isNaN(a) !== isNaN(b)) return isNaN(a) ? 1 : -1;
  const order = isNaN(a) ? one.localeCompare(other) : a - b;
  return downwards ? -order : order;
}

function sort(table, column, downwards) {
  const figures = table.tHead.rows[0].cells[column].classList.contains("figure");
  const text = (row) => row.cells[column].textContent.trim();
  const rows = [...table.tBodies[0].rows];
  rows.sort((one, other) => {
    if (figures) return compared(text(one), text(other), downwards);
    const order = text(one).localeCompare(text(other), undefined, { numeric: true });
    return downwards ? -order : order;
  });
  table.tBodies[0].append(...rows);
}

for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const downwards = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", downwards ? "descending" : "ascending");
      sort(table, column, downwards);
    });
  });
}

window.addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("details")) details.open = true;
});
