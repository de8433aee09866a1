import { draftMode } from 'next/headers';
import Link from 'next/link';
import { post } from '../../../lib/post';
import { Rendered } from '../../rendered';

// Next.js says `private, no-cache, no-store` of such a page; the route overrides that.
export const dynamic = 'force-dynamic';

export default async function Post({ params }) {
  const { slug } = await params;
  const { edition, rendered } = await post(`/blog/${slug}`);
  const { isEnabled } = await draftMode();
  return (
    <main>
      <h1 id="slug">{slug}</h1>
      {isEnabled && <p id="draft">a draft</p>}
      <Rendered edition={edition} at={rendered} />
      <Link id="home" href="/">Home</Link>
    </main>
  );
}
