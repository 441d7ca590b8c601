document.querySelectorAll("table.sortable th").forEach((head, column) => {
  const button = head.querySelector("button");
  if (!button) return;
  button.disabled = false;
  button.addEventListener("click", () => {
    const up = head.getAttribute("aria-sort") === "descending";
    head.closest("tr").querySelectorAll("th").forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const body = head.closest("table").tBodies[0];
    const value = (row) => row.cells[column].dataset.value;
    const known = [...body.rows].filter((row) => value(row) !== "");
    const unknown = [...body.rows].filter((row) => value(row) === "");
    const numbers = known.every((row) => !Number.isNaN(Number(value(row))));
    known.sort((a, b) => (up ? 1 : -1) * (numbers ? value(a) - value(b) : value(a).localeCompare(value(b))));
    body.append(...known, ...unknown);
  });
});
