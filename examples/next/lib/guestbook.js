const KEY = Symbol.for('coppice.example.guestbook');

const names = (globalThis[KEY] ??= []);

export function sign(name) {
  names.push(name);
}

export function signed() {
  return [...names];
}
