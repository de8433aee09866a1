// A gate that a test opens: whoever waits goes on then. One for the whole server process.
const key = Symbol.for('coppice.example.gate');

function gate() {
  if (!globalThis[key]) {
    let open;
    const opened = new Promise((resolve) => {
      open = resolve;
    });
    globalThis[key] = { opened, open };
  }
  return globalThis[key];
}

export async function opened() {
  await gate().opened;
}

export function open() {
  gate().open();
  globalThis[key] = undefined;
}
