(function () {
  "use strict";
  document.querySelectorAll("table.sortable").forEach(function (table) {
    var body = table.tBodies[0];
    table.querySelectorAll("thead button").forEach(function (button) {
      button.addEventListener("click", function () {
        var head = button.closest("th"), place = head.cellIndex;
        var down = head.getAttribute("aria-sort") === "ascending";
        table.querySelectorAll("thead th").forEach(function (th) { th.removeAttribute("aria-sort"); });
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        var rows = Array.from(body.rows).map(function (row) {
          var cell = row.cells[place], key = cell.dataset.sort;
          return [key === undefined ? cell.textContent.trim().toLowerCase() : Number(key), row];
        });
        rows.sort(function (a, b) { return (a[0] < b[0] ? -1 : a[0] > b[0] ? 1 : 0) * (down ? -1 : 1); });
        rows.forEach(function (pair) { body.appendChild(pair[1]); });
      });
    });
  });
  document.querySelectorAll("[data-filters]").forEach(function (bar) {
    var rows = Array.from(document.getElementById(bar.dataset.filters).tBodies[0].rows);
    var text = bar.querySelector("input"), kind = bar.querySelector("select"), output = bar.querySelector("output");
    var texts = rows.map(function (row) { return row.textContent.toLowerCase(); });
    function apply() {
      var wanted = text.value.trim().toLowerCase(), shown = 0;
      rows.forEach(function (row, k) {
        var fits = texts[k].indexOf(wanted) >= 0 && (!kind || !kind.value || row.dataset.kind === kind.value);
        row.hidden = !fits;
        shown += fits ? 1 : 0;
      });
      output.textContent = shown + " of " + rows.length + " shown";
    }
    bar.hidden = false;
    text.addEventListener("input", apply);
    if (kind) { kind.addEventListener("change", apply); }
    apply();
  });
})();
