(() => {
  const STEP = 30;
  const form = document.getElementById("search");
  if (!form) return;
  const rows = [...document.querySelectorAll(".transcript")];
  const texts = rows.map(row => row.textContent.toLowerCase());
  const list = document.getElementById("transcript-list");
  const more = document.getElementById("more");
  const found = document.getElementById("found");
  let shown = STEP;
  const show = () => {
    const { text, arm, verdict, group } = Object.fromEntries(new FormData(form));
    const words = text.toLowerCase().split(/\s+/).filter(Boolean);
    const fits = rows.filter((row, n) =>
      (!arm || row.dataset.arm === arm) &&
      (!group || row.dataset.group === group) &&
      (!verdict || row.dataset.verdicts.includes(`|${verdict}|`)) &&
      words.every(word => texts[n].includes(word)));
    const visible = new Set(fits.slice(0, shown));
    for (const row of rows) row.hidden = !visible.has(row);
    more.hidden = fits.length <= shown;
    found.textContent = `${fits.length.toLocaleString("en")} of ${rows.length.toLocaleString("en")} answers`;
  };
  const ask = () => { shown = STEP; list.open = true; show(); };
  form.addEventListener("input", ask);
  form.addEventListener("submit", event => { event.preventDefault(); ask(); });
  more.addEventListener("click", () => { shown += STEP; show(); });
  form.hidden = false;
  show();
})();
