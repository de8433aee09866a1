import { Rendered } from '../../rendered';

// Next.js says `private, no-cache, no-store` of such a page; the route overrides that.
export const dynamic = 'force-dynamic';

export default async function Post({ params }) {
  const { slug } = await params;
  return (
    <main>
      <h1 id="slug">{slug}</h1>
      <Rendered />
    </main>
  );
}
