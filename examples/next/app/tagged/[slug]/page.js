import { unstable_cache } from 'next/cache';
import Link from 'next/link';
import { play } from '../../../lib/script';
import { Rendered } from '../../rendered';
import { renew } from '../actions';

export function generateStaticParams() {
  return [];
}

// Kept by Next.js, page and data, until the app says `revalidateTag` or `updateTag`.
export default async function Tagged({ params }) {
  const { slug } = await params;
  const path = `/tagged/${slug}`;
  const load = unstable_cache(() => play(path), [path], { tags: [`post:${slug}`, 'tagged'] });
  const { edition, rendered } = await load();
  return (
    <main>
      <h1 id="slug">{slug}</h1>
      <Rendered edition={edition} at={rendered} />
      <form action={renew}>
        <input type="hidden" name="tag" value={`post:${slug}`} />
        <button id="renew">Renew</button>
      </form>
      <Link id="home" href="/">Home</Link>
    </main>
  );
}
