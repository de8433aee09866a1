'use client';

import { useLayoutEffect, useState } from 'react';

// The edition that the router got with the page's data, beside the one that its document shows: they are of one render.
export function Payload({ edition }) {
  const [payload, setPayload] = useState(null);
  useLayoutEffect(() => setPayload(edition), [edition]);
  return <b id="payload">{payload}</b>;
}
