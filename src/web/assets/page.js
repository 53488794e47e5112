// Keeps a page fresh: sections are fetched again as documents and put in the place of the old ones. No text is ever
// turned into markup here, and without this script the pages show the same, as of when they were loaded.
'use strict';
(() => {
  const root = document.documentElement;
  const stale = document.getElementById('stale');
  let paused = false;

  // Theme: as the system has it, light, or dark.
  const themes = ['auto', 'light', 'dark'];
  const theme = document.getElementById('theme');
  const show = (name) => {
    if (name === 'auto') root.removeAttribute('data-theme'); else root.setAttribute('data-theme', name);
    if (theme) theme.textContent = 'Theme: ' + name;
  };
  let chosen = 'auto';
  try { chosen = localStorage.getItem('theme') || 'auto'; } catch { /* not allowed to keep anything */ }
  show(themes.includes(chosen) ? chosen : 'auto');
  if (theme) {
    theme.hidden = false;
    theme.addEventListener('click', () => {
      chosen = themes[(themes.indexOf(chosen) + 1) % themes.length];
      try { localStorage.setItem('theme', chosen); } catch { /* for this page, then */ }
      show(chosen);
    });
  }
  const pause = document.getElementById('pause');
  if (pause) {
    pause.hidden = false;
    pause.addEventListener('click', () => {
      paused = !paused;
      pause.setAttribute('aria-pressed', String(paused));
      pause.textContent = paused ? 'Go on' : 'Pause';
    });
  }

  const get = (url) => new Promise((done, failed) => {
    const request = new XMLHttpRequest();
    request.open('GET', url);
    request.responseType = 'document';
    request.timeout = 10000;
    request.onload = () => (request.status === 200 && request.response ? done(request.response) : failed());
    request.onerror = request.ontimeout = failed;
    request.send();
  });

  let good = new Date();
  const said = (ok) => {
    if (ok) good = new Date();
    if (!stale) return;
    stale.hidden = ok;
    if (!ok) stale.textContent = 'No answer since ' + good.toLocaleTimeString() + ': what is shown is from then.';
  };

  // A section with data-refresh="SECONDS" asks for its page again with ?part=ID.
  const refresh = async (id, seconds) => {
    const section = document.getElementById(id);
    if (!section) return;
    const busy = section.contains(document.activeElement) && document.activeElement.matches('input, textarea, select');
    if (!paused && !document.hidden && !busy) {
      const url = new URL(location.href);
      url.searchParams.set('part', id);
      try {
        const fresh = (await get(url)).getElementById(id);
        if (fresh) {
          const focused = section.contains(document.activeElement) ? document.activeElement.id : '';
          section.replaceWith(document.adoptNode(fresh));
          for (const year of fresh.querySelectorAll('.year')) year.scrollLeft = year.scrollWidth;
          if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
        }
        said(true);
      } catch { said(false); }
    }
    setTimeout(refresh, seconds * 1000, id, seconds);
  };
  for (const section of document.querySelectorAll('[data-refresh]')) {
    const seconds = Math.max(1, Number(section.dataset.refresh) || 5);
    setTimeout(refresh, seconds * 1000, section.id, seconds);
  }

  // Lines as they come.
  const list = document.getElementById('lines');
  if (list && 'EventSource' in window) {
    const most = 200;
    list.scrollTop = list.scrollHeight;
    const source = new EventSource(list.dataset.live);
    source.onmessage = (event) => {
      if (paused) return;
      const atEnd = list.scrollTop + list.clientHeight >= list.scrollHeight - 30;
      const item = document.createElement('li');
      item.textContent = event.data;
      list.append(item);
      while (list.childElementCount > most) list.firstElementChild.remove();
      if (atEnd) list.scrollTop = list.scrollHeight;
    };
    addEventListener('pagehide', () => source.close());
  }

  // Where a year is wider than the screen, its end is what matters.
  for (const year of document.querySelectorAll('.year')) year.scrollLeft = year.scrollWidth;

  // What a chart shows under the pointer.
  document.addEventListener('pointermove', (event) => {
    const chart = event.target.closest && event.target.closest('svg.chart[data-points]');
    if (!chart) return;
    const points = chart.dataset.points.split(' ').map((pair) => pair.split(','));
    const box = chart.getBoundingClientRect();
    const first = Number(points[0][0]), last = Number(points[points.length - 1][0]);
    const at = first + (last - first) * ((event.clientX - box.left) / box.width);
    let nearest = points[0];
    for (const point of points) if (Math.abs(point[0] - at) < Math.abs(nearest[0] - at)) nearest = point;
    const out = chart.parentElement.querySelector('output');
    if (out) out.textContent = nearest[1] + ' at ' + new Date(nearest[0] * 1000).toLocaleTimeString();
  });
})();
