import { Suspense } from 'react';
import { opened } from '../gate';

export const dynamic = 'force-dynamic';

async function Slow() {
  await opened();
  return <p id="late">the late part</p>;
}

// The first part is sent at once, the late part when the gate opens.
export default function Page() {
  return (
    <main>
      <p id="early">the early part</p>
      <Suspense fallback={<p>…</p>}>
        <Slow />
      </Suspense>
    </main>
  );
}
