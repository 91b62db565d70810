"""The pulse of a polled page: a value that changes with every answer, and the script that notices its absence.

Comes in (each second): the shown run's folder, its step and the time. Goes out, in the browser: a note after 12 s
without an answer, another one when the studio is back, and the run's name in the address, so that a reload shows it.
"""

LONGEST_SILENCE_S = 12

TEMPLATE = "<span hidden></span>"

SCRIPT = """
const note = document.createElement('div');
note.className = 'at-reach';
note.setAttribute('role', 'status');
element.parentElement.appendChild(note);
const shows = () => {
  const page = element.closest('.at-page');
  return page && page.offsetParent !== null;
};
const say = (kind, strong, text) => {
  note.className = 'at-reach at-message at-message-' + kind;
  note.replaceChildren(Object.assign(document.createElement('strong'), {textContent: strong}), ' ' + text);
};
const address = () => {
  const url = new URL(location.href), run = shows() ? (props.value.run || '') : '';
  if ((url.searchParams.get('run') || '') === run) return;
  if (run) url.searchParams.set('run', run); else url.searchParams.delete('run');
  history.replaceState(history.state, '', url);
};
// Gradio loads the page anew when a restarted studio answers: what was seen last has to survive that.
const before = JSON.parse(sessionStorage.getItem('at-away') || 'null');
let heard = Date.now(), last = before || props.value, away = before !== null, back = 0;
watch('value', () => {
  const now = props.value;
  if (away) {
    const made = now.run && now.run === last.run ? now.step - last.step : 0;
    const words = made.toLocaleString('en') + (made === 1 ? ' step was' : ' steps were') + ' made meanwhile.';
    say('good', 'Back again.', made > 0 ? words : '');
    away = false;
    back = Date.now();
    sessionStorage.removeItem('at-away');
  }
  heard = Date.now();
  last = now;
  address();
});
// Browsers slow down the clocks of hidden pages: their silence says nothing.
document.addEventListener('visibilitychange', () => { heard = Date.now(); });
setInterval(() => {
  address();
  const silent = Math.round((Date.now() - heard) / 1000);
  if (!document.hidden && last.clock && silent >= LONGEST) {
    away = true;
    sessionStorage.setItem('at-away', JSON.stringify(last));
    say('warning', `No answer from the studio for ${silent} s.`,
        `Figures are from ${last.clock}. A run in progress goes on; this page catches up by itself.`);
  } else if (!away && back && Date.now() - back > 10000) {
    back = 0;
    note.className = 'at-reach';
    note.replaceChildren();
  }
}, 1000);
""".replace("LONGEST", str(LONGEST_SILENCE_S))
