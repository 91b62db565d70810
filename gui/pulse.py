"""The pulse of a polled page: it asks for news once a second while somebody looks, and notices when none comes.

Comes in (with every answer): the shown run's folder, its step and the time. Goes out, from the browser: the event
`beat`, only while the page is in view, so that a hidden tab costs nothing; a note after 12 s without an answer and
another one when the studio is back; the run's name in the address, so that a reload shows it.
"""

EVERY_S = 1.0
LONGEST_SILENCE_S = 12

TEMPLATE = "<span hidden></span>"

SCRIPT = """
const note = document.createElement('div');
note.className = 'at-reach';
note.setAttribute('role', 'status');
element.parentElement.appendChild(note);
const page = element.closest('.at-runs-page');
const shows = () => page.getClientRects().length > 0;
const say = (kind, strong, text) => {
  note.className = 'at-reach at-message at-message-' + kind;
  note.replaceChildren(Object.assign(document.createElement('strong'), {textContent: strong}), ' ' + text);
};
const address = () => {
  page.classList.toggle('at-shows-run', !!props.value.run);
  page.classList.toggle('at-compares', (props.value.run || '').includes('|'));
  const url = new URL(location.href), run = shows() ? (props.value.run || '') : '';
  if ((url.searchParams.get('run') || '') === run) return;
  if (run) url.searchParams.set('run', run); else url.searchParams.delete('run');
  history.replaceState(history.state, '', url);
};
// Gradio loads the page anew when a restarted studio answers: what was seen last has to survive that.
const before = JSON.parse(sessionStorage.getItem('at-away') || 'null');
let heard = Date.now(), last = before || props.value, away = before !== null, back = 0, asked = 0, looked = false;
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
const beat = () => {
  address();
  const now = Date.now(), looks = !document.hidden && shows();
  if (!looks || !looked) heard = now;
  const due = looks && (!looked || now - asked >= EVERY);
  looked = looks;
  if (due) {
    asked = now;
    trigger('beat');
  }
  const silent = Math.round((now - heard) / 1000);
  if (last.clock && silent >= LONGEST) {
    away = true;
    sessionStorage.setItem('at-away', JSON.stringify(last));
    say('warning', `No answer from the studio for ${silent} s.`,
        `Figures are from ${last.clock}. A run in progress goes on; this page catches up by itself.`);
  } else if (!away && back && now - back > 10000) {
    back = 0;
    note.className = 'at-reach';
    note.replaceChildren();
  }
};
setInterval(beat, 200);
"""
SCRIPT = SCRIPT.replace("LONGEST", str(LONGEST_SILENCE_S)).replace("EVERY", str(round(1000 * EVERY_S)))
