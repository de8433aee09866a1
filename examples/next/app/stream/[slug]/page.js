import { Suspense } from 'react';
import { post } from '../../../lib/post';
import { Rendered } from '../../rendered';

export const dynamic = 'force-dynamic';

async function Late({ path }) {
  const { edition, rendered } = await post(path);
  return (
    <section>
      <p id="late">the late part</p>
      <Rendered edition={edition} at={rendered} />
    </section>
  );
}

// The first part is sent at once, the late part when it is there.
export default async function Page({ params }) {
  const { slug } = await params;
  return (
    <main>
      <p id="early">the early part</p>
      <Suspense fallback={<p>…</p>}>
        <Late path={`/stream/${slug}`} />
      </Suspense>
    </main>
  );
}
