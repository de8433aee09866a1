// What each page does, as a test (or you, with curl) has it: `POST /api/script`. Kept in the server's process.
//
//   { "path": "/blog/a", "does": "fail" }       throws while it renders
//   { "path": "/blog/a", "does": "wait" }       waits until it is told something else
//   { "path": "/blog/a", "does": "gone" }       notFound()
//   { "path": "/blog/a", "does": "redirect" }   redirect(), as `to` says
//   { "path": "/blog/a", "does": "move" }       permanentRedirect(), as `to` says
//   { "path": "/blog/a", "edition": "2" }       renders this edition
const KEY = Symbol.for('coppice.example.script');

const pages = (globalThis[KEY] ??= new Map());

function page(path) {
  if (!pages.has(path)) {
    pages.set(path, { does: 'render', to: null, edition: '1', renders: 0, begun: 0, told: [] });
  }
  return pages.get(path);
}

// Tells a page what to do from now on; who waits goes on.
export function tell(path, { does = 'render', to = null, edition }) {
  const told = page(path);
  told.does = does;
  told.to = to;
  told.edition = edition ?? told.edition;
  told.told.splice(0).forEach((resume) => resume());
  return counts(path);
}

// How often it has begun to render, and how often it got to the end.
export function counts(path) {
  const { does, edition, begun, renders } = page(path);
  return { does, edition, begun, renders };
}

// What a page is to show. What it does besides is for the caller, since the two routers say it differently.
export async function play(path) {
  const played = page(path);
  played.begun += 1;
  // As it was when the rendering began: a slow answer shows old content.
  const { edition } = played;
  while (played.does === 'wait') {
    await new Promise((resume) => played.told.push(resume));
  }
  const { does, to } = played;
  if (does === 'fail') {
    throw new Error(`${path} was told to fail`);
  }
  played.renders += 1;
  return { does, to, edition, rendered: new Date().toISOString() };
}
